"""What a version trains on, as files to look at: pairs of image and mask, and a contact sheet."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from anomalyvfm.adapted.adaptation import GoodImages, group_for
from anomalyvfm.adapted.plans import needs_group, orders_for
from anomalyvfm.adapted.scorer import with_token
from anomalyvfm.data import (
    Category,
    ImageError,
    ImageSource,
    InputFrame,
    choose_frame,
    read_many,
    read_source,
)
from anomalyvfm.data.sources import readable_sizes
from anomalyvfm.errors import InputError
from anomalyvfm.features import backbones
from anomalyvfm.features.extractor import Extractor, frame_for
from anomalyvfm.presets import AdaptedPreset
from anomalyvfm.synthesis import KNOWN, STAGES, Group, synthesize, write_pairs
from anomalyvfm.tracking import Tracker
from anomalyvfm.visual.pictures import contact_sheet, save_picture

# Enough to tell a category's group by; all would take as long as a fit.
_GROUPED_BY = 64


def write_synthetic(
    category: Category, settings: AdaptedPreset, folder: Path, device: str, seed: int, track: Tracker
) -> dict[str, int]:
    """Write ``images/``, ``masks/``, ``synthetic.json`` and ``contact_sheet.png``; returns counts by stage.

    The images are as a model with these settings sees them, up to the rounding of sizes to what its backbone
    takes. The backbone itself runs only where the version asks for a category's group and its name does not
    tell. Raises InputError where defects cannot be made of these images.
    """
    sources = _readable(category, settings, track)
    sizes = readable_sizes(sources, settings.image)
    if settings.image.size is None:
        raise InputError("image.size=none: the backbone's own size is not known here; give --image-size")
    frame = choose_frame(sizes, settings.image.size, 1, settings.image.aspect)
    group: Group = KNOWN.get(category.name, "medium")
    if category.name not in KNOWN and needs_group(settings):
        group = _derived_group(category, settings, sources[:_GROUPED_BY], device)
    wanted = orders_for(settings, group, seed)
    good = GoodImages(frame, settings.image, sources)
    made = synthesize(good, wanted, seed, settings.synthesis.severity)
    pictures = write_pairs(track(made, len(wanted), "synthetic defects"), folder)
    save_picture(contact_sheet(pictures, columns=6), folder / "contact_sheet.png")
    counts = Counter(order.stage for order in wanted)
    return {stage: counts[stage] for stage in STAGES}


def _readable(category: Category, settings: AdaptedPreset, track: Tracker) -> list[ImageSource]:
    """The good images that can be decoded: defects are made of any two of them, in no order."""
    paths: list[ImageSource] = [sample.path for sample in category.train]
    small = InputFrame(32, 32)
    looked_at = read_many(paths, lambda path: small.place(read_source(path, settings.image)))
    outcomes = list(track(looked_at, len(paths), "reading"))
    readable = [path for path, image in outcomes if not isinstance(image, ImageError)]
    if len(readable) < 2:
        first = next((str(image) for _, image in outcomes if isinstance(image, ImageError)), "")
        raise InputError(
            f"{category.name}: {len(readable)} good image{'s' * (len(readable) != 1)} could be read; 2 are"
            f" needed to make defects from{'; the first that is not: ' * bool(first)}{first}"
        )
    return readable


def _derived_group(
    category: Category, settings: AdaptedPreset, sources: list[ImageSource], device: str
) -> Group:
    import torch

    backbone = backbones.load(settings.backbone, layers=settings.features.layers, device=device)
    frame = frame_for(sources, settings.image, backbone)
    extractor = Extractor(backbone, frame, settings.image, settings.batch)
    tokens = [with_token(b.features).summary for b in extractor.extract(sources) if b.features is not None]
    return group_for(category.name, GoodImages(frame, settings.image, sources), torch.cat(tokens))
