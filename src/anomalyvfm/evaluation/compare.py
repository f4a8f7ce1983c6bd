"""Pipelines × categories × seeds on the same images: what each is worth, and what it costs."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from anomalyvfm.adapted.plans import scales_of
from anomalyvfm.data import Category, Sample, open_dataset
from anomalyvfm.detector import Detector
from anomalyvfm.errors import InputError
from anomalyvfm.evaluation.evaluate import evaluate
from anomalyvfm.features import backbones
from anomalyvfm.features.backbones.backbone import Backbone
from anomalyvfm.features.backbones.remembering import RememberingBackbone
from anomalyvfm.files import check_new, locked, mark, new_folder
from anomalyvfm.presets import AdaptedPreset, Preset, flat, preset
from anomalyvfm.version import __version__

METRICS = (
    "image_auroc",
    "image_ap",
    "class_f1",
    "false_alarm_rate",
    "pixel_auroc",
    "aupro_0.30",
    "aupro_0.05",
)
RUNS = "runs"

# With more than one seed each learns its own share of the good images, or pipelines without any other
# random choice would look certain.
_SHARE_PER_SEED = 0.9


@dataclass(frozen=True)
class Pipeline:
    """A preset as it is compared, under the name it has in tables."""

    label: str
    settings: Preset


@dataclass(frozen=True)
class Run:
    """One pipeline fitted and evaluated on one category with one seed.

    ``metrics`` holds those of `METRICS`, None where the data has no masks. The seconds are those of a run
    alone: where features were already known from another pipeline, what they had cost is counted in.
    ``scores`` are those of the test images, ``labels`` 1 for the defective ones. ``error`` says why a run has
    no metrics.
    """

    pipeline: str
    category: str
    layout: str
    seed: int
    metrics: dict[str, float | None]
    regular_auroc: float | None
    """Image AUROC under the lighting of the training images, where file names tell the lighting."""
    fit_s: float
    predict_s: float
    training_s: float
    images: int
    """Good images learned from."""
    scores: list[float]
    labels: list[int]
    error: str | None = None


def pipelines(
    names: Sequence[str], overrides: Mapping[str, Any], baseline: bool, device: str = "auto"
) -> list[Pipeline]:
    """The presets of those names, and with ``baseline`` each adapted one on frozen features too.

    An override changes the presets that have such a setting. Raises InputError for one that none has. Frozen
    features are the same for versions that see an image alike, and come once.
    """
    found = [preset(name) for name in dict.fromkeys(names)]
    known = [dict(flat(one.model_dump())) for one in found]
    for key in overrides:
        if not any(key in settings for settings in known):
            found[0].override({key: overrides[key]})  # says which settings there are
    changed = [
        one.override({key: value for key, value in overrides.items() if key in settings})
        for one, settings in zip(found, known, strict=True)
    ]
    changed = [one.override({"backbone": backbones.choose(one.backbone, device)}) for one in changed]
    every = [Pipeline(one.name, one) for one in changed]
    if baseline:
        for one in changed:
            if isinstance(one, AdaptedPreset) and one.lora.enabled:
                several = "" if scales_of(one.name) == (1.0,) else ", three scales"
                every.append(Pipeline(f"frozen features{several}", one.override({"lora.enabled": False})))
    return list({one.label: one for one in reversed(every)}.values())[::-1]


@contextmanager
def open_comparison(folder: Path, overwrite: bool) -> Iterator[None]:
    """Make the folder of a comparison, or go on in that of an earlier one, and keep other runs out of it.

    Raises InputError where it holds anything else (unless ``overwrite`` and it is ours) or cannot be made.
    """
    anew = overwrite or not (folder / RUNS).is_dir()
    if anew:
        check_new(folder, overwrite)
    with locked(folder):
        if anew:
            with new_folder(folder, overwrite) as partial:
                (partial / RUNS).mkdir()
        mark(folder, growing=(RUNS, "comparison.json", "comparison.md", "comparison.png"))
        yield
        mark(folder)


def compare(
    data: Path,
    categories: Sequence[str],
    compared: Sequence[Pipeline],
    seeds: Sequence[int],
    folder: Path,
    device: str = "auto",
    say: Callable[[str], None] = lambda text: None,
) -> list[Run]:
    """All runs; those in ``folder`` (of `open_comparison`) as they are, new ones kept there as they end.

    A category's features are computed once for all pipelines that see its images alike.
    """
    loaded: dict[tuple[str, Any, bool], Backbone] = {}
    runs = []
    for name in categories:
        with tempfile.TemporaryDirectory(prefix="anomalyvfm-") as scratch:
            remembering: dict[tuple[str, Any, bool], RememberingBackbone] = {}
            for seed in seeds:
                category = _share(open_dataset(data, name, seed), seed, len(seeds) > 1)
                for pipeline in compared:
                    settings = pipeline.settings
                    wanted = (settings.backbone, settings.features.layers, settings.detail)
                    if wanted not in loaded:
                        loaded[wanted] = backbones.load(
                            wanted[0], layers=wanted[1], device=device, detail=wanted[2]
                        )
                    path = (
                        folder / RUNS / f"{_key(pipeline, category, seed, loaded[wanted].weight_hash)}.json"
                    )
                    run = _stored(path)
                    if run is None:
                        say(f"{name}, seed {seed}: {pipeline.label}")
                        place = Path(scratch) / str(len(remembering))
                        backbone = remembering.setdefault(wanted, RememberingBackbone(loaded[wanted], place))
                        run = _run(pipeline, category, seed, backbone, device)
                        if run.error is None:
                            _write(path, run)
                    # The same run may stand in several comparisons under other names.
                    runs.append(replace(run, pipeline=pipeline.label))
    return runs


def _run(
    pipeline: Pipeline, category: Category, seed: int, backbone: RememberingBackbone, device: str
) -> Run:
    settings = pipeline.settings
    lora = settings.lora if isinstance(settings, AdaptedPreset) else None
    # LoRA inside the encoder changes the network, so it gets one of its own.
    in_encoder = lora is not None and lora.enabled and lora.where == "encoder"
    detector = Detector(settings, device=device, seed=seed, backbone=None if in_encoder else backbone)
    before = backbone.seconds_saved
    try:
        detector.fit(category)
        fitted = backbone.seconds_saved
        report = evaluate(detector, category)
    except InputError as error:
        named = (pipeline.label, category.name, category.layout, seed)
        return Run(*named, {}, None, 0, 0, 0, 0, [], [], str(error))
    metrics = report.metrics
    training = (detector.pipeline_.describe()["adaptation"] or {}).get("seconds", 0.0)
    return Run(
        pipeline.label,
        category.name,
        category.layout,
        seed,
        {name: metrics[name] for name in METRICS},
        metrics["by_condition"].get("regular", {}).get("image_auroc"),
        metrics["fit_s"] + fitted - before,
        metrics["predict_s"] + backbone.seconds_saved - fitted,
        training,
        detector.pipeline_.learned.total(),
        [image.verdict.score for image in report.images],
        [int(bool(image.sample.label)) for image in report.images],
    )


def _share(category: Category, seed: int, several: bool) -> Category:
    if not several:
        return category
    count = max(1, int(_SHARE_PER_SEED * len(category.train)))
    kept = sorted(np.random.default_rng(seed).permutation(len(category.train))[:count])
    return replace(category, train=tuple(category.train[i] for i in kept))


def _key(pipeline: Pipeline, category: Category, seed: int, weight_hash: str) -> str:
    """What a run depends on, as a short name: the same run is never made twice."""
    settings = pipeline.settings.model_dump(mode="json")
    if isinstance(pipeline.settings, AdaptedPreset) and not pipeline.settings.lora.enabled:
        scales = scales_of(pipeline.settings.name)
        settings = {k: v for k, v in settings.items() if k not in ("name", "lora", "training", "synthesis")}
        settings["scales"] = scales
    samples = [*category.train, *category.validation, *category.test]
    parts = [__version__, settings, seed, weight_hash, category.name, [_facts(sample) for sample in samples]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def _facts(sample: Sample) -> list[Any]:
    files = [sample.path] if sample.mask is None else [sample.path, sample.mask]
    if sample.mask is not None and sample.mask.is_dir():
        files += sorted(sample.mask.iterdir())
    stats = [path.stat() for path in files]
    return [
        sample.label,
        *((path.name, s.st_size, s.st_mtime_ns) for path, s in zip(files, stats, strict=True)),
    ]


def _stored(path: Path) -> Run | None:
    try:
        return Run(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # none yet, or a broken one: made anew


def _write(path: Path, run: Run) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(asdict(run), indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def table(runs: Iterable[Run], metric: str) -> dict[str, dict[str, list[float]]]:
    """Pipeline → category → the metric's value for each seed; without runs that have none."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        value = run.metrics.get(metric)
        if value is not None:
            found.setdefault(run.pipeline, {}).setdefault(run.category, []).append(value)
    return found
