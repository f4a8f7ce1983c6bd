"""One photograph of a scene, good or bad."""

from __future__ import annotations

from difflib import get_close_matches

import numpy as np
import numpy.typing as npt

from anomalyvfm.data.generated.blister import Blister
from anomalyvfm.data.generated.camera import ALL_CONDITIONS, Camera, through_lens
from anomalyvfm.data.generated.can import Can
from anomalyvfm.data.generated.canvas import Scene
from anomalyvfm.data.generated.circuit_board import CircuitBoard
from anomalyvfm.data.generated.fabric import Fabric
from anomalyvfm.data.generated.foam import Foam
from anomalyvfm.data.generated.gear import Gear
from anomalyvfm.data.generated.grains import Grains
from anomalyvfm.data.generated.sheet_metal import SheetMetal
from anomalyvfm.errors import InputError

SCENES: dict[str, type[Scene]] = {
    # aligned parts: position matters
    "can": Can,
    "blister": Blister,
    "gear": Gear,
    # layouts: any structure may appear anywhere
    "fabric": Fabric,
    "grains": Grains,
    "circuit_board": CircuitBoard,
    # homogeneous textures: the whole image's statistics matter
    "sheet_metal": SheetMetal,
    "foam": Foam,
}
CATEGORIES: tuple[str, ...] = tuple(SCENES)
DEFECTS: dict[str, tuple[str, ...]] = {name: tuple(scene.defects) for name, scene in SCENES.items()}

SMALLEST = 32
VISIBLE = 0.1  # share of a pixel that must be painted over for it to count as defective

Image8 = npt.NDArray[np.uint8]


def draw_good(category: str, size: int, rng: np.random.Generator, condition: str = "regular") -> Image8:
    """A good image (size, size, 3).

    The same state of `rng` gives the same product in every condition and at every size, and the product
    that `draw_bad` spoils. Raises InputError for an unknown category or condition, or a size below 32.
    """
    scene_rng, camera_rng, _ = _streams(category, size, rng, condition)
    scene = SCENES[category](size, scene_rng)
    camera = Camera(size, condition, camera_rng)
    return camera.photograph(through_lens(scene.canvas.rgb, camera.spread))


def draw_bad(
    category: str,
    size: int,
    rng: np.random.Generator,
    condition: str = "regular",
    kind: str | None = None,
) -> tuple[Image8, npt.NDArray[np.bool_], str]:
    """An image (size, size, 3) with one defect, its mask (size, size), and the kind of defect.

    Outside the mask the image equals, bit by bit, what `draw_good` draws from the same state of `rng`.
    `kind` is one of DEFECTS[category], or drawn at random. Errors are those of `draw_good`.
    """
    scene_rng, camera_rng, defect_rng = _streams(category, size, rng, condition)
    kinds = DEFECTS[category]
    if kind is not None and kind not in kinds:
        raise InputError(f"unknown defect {kind!r} of {category}: choose from {', '.join(kinds)}")
    drawn = kinds[int(defect_rng.integers(len(kinds)))]
    kind = kind or drawn
    scene = SCENES[category](size, scene_rng)
    camera = Camera(size, condition, camera_rng)
    good = through_lens(scene.canvas.rgb, camera.spread)
    scene.canvas.start_recording()
    SCENES[category].defects[kind](scene, defect_rng)
    touched = through_lens(scene.canvas.touched, camera.spread)
    # at small sizes a thin defect covers little of any pixel, but it is still there
    mask = touched > min(VISIBLE, 0.5 * float(touched.max()))
    bad = np.where(mask[..., None], through_lens(scene.canvas.rgb, camera.spread), good)
    return camera.photograph(bad), mask, kind


def check_category(category: str) -> None:
    """Raise InputError, naming the nearest category, unless it is one of CATEGORIES."""
    if category not in SCENES:
        near = get_close_matches(category, CATEGORIES, n=1, cutoff=0.0)[0]
        raise InputError(
            f"unknown generated category {category!r}: did you mean {near!r}? (all: {', '.join(CATEGORIES)})"
        )


def check_size(size: int) -> None:
    """Raise InputError if images of this side are too small to show anything."""
    if size < SMALLEST:
        raise InputError(f"generated images must be at least {SMALLEST} px a side, not {size}: ask for more")


def _streams(
    category: str, size: int, rng: np.random.Generator, condition: str
) -> tuple[np.random.Generator, np.random.Generator, np.random.Generator]:
    """Independent generators for the product, the camera and the defect."""
    check_category(category)
    if condition not in ALL_CONDITIONS:
        raise InputError(f"unknown lighting {condition!r}: choose from {', '.join(ALL_CONDITIONS)}")
    check_size(size)
    product, camera, defect = (np.random.default_rng(int(s)) for s in rng.integers(2**62, size=3))
    return product, camera, defect
