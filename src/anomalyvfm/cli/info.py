"""`anomalyvfm info`: what a model is."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from anomalyvfm.cli.options import PATH, common, report

_ODDEST_SHOWN = 5


@click.command()
@click.argument("model", type=PATH)
@common
def info(model: Path, as_json: bool, device: str, seed: int) -> None:
    """Say what MODEL is: backbone, settings, calibration, what it learned."""
    from anomalyvfm.runtime.manifest import is_exported, read_manifest

    if is_exported(model):
        manifest = read_manifest(model)
        report(as_json, manifest, lambda: _print_exported(model, manifest))
        return
    from anomalyvfm.features.backbones import cpu_backend
    from anomalyvfm.model_folder import read_description

    description = read_description(model)
    described = {**description, "cpu_backend": cpu_backend(description["backbone"]["name"])}
    report(as_json, described, lambda: print_model(model, description, settings=True))


def print_model(folder: Path, description: dict[str, Any], settings: bool = False) -> None:
    """What a model's description says, a line a fact."""
    fitted, calibration = description["fitted_on"], description["calibration"]
    frame, backbone = description["input_frame"], description["backbone"]
    of = f" of {fitted['category']}" if fitted["category"] else ""
    rows = [
        ("model", str(folder)),
        ("learned", f"{fitted['images']} good images{of} in {fitted['seconds']:.1f} s"),
        ("skipped", f"{fitted['skipped']} unreadable"),
        *_defects(description.get("defects")),
        *_region(description.get("roi")),
        *_rules(description["settings"].get("regions", {}), description.get("roi") or {}),
        *_set_aside(fitted.get("set_aside", [])),
        *_oddest(fitted.get("oddest", [])),
        ("gallery", f"{fitted['shown']} of the good images are kept small, to show beside odd places"),
        (
            "backbone",
            f"{backbone['name']}, layers {backbone['layers']}, weights {backbone['weight_hash'][:12]}",
        ),
        ("frame", f"{frame['height']}×{frame['width']} px, {frame['aspect']}"),
        (
            "threshold",
            f"{calibration['threshold']:.3f}: at most {calibration['false_alarm_rate']:.2%} of good images"
            f" above ({_backing(calibration)})",
        ),
    ]
    if (grid := description.get("grid")) is not None:
        shape = f"{grid['height']}×{grid['width']} × {grid['dimensions']} of {grid['channels']} channels"
        rows.insert(-1, ("grid", shape))
    if (choice := description.get("choice")) is not None:
        from anomalyvfm.statistical.choice import Choice

        reasons = Choice.from_dict(choice).reasons(description["sizes_seen"])
        rows[-1:-1] = zip(("places", "scales", "whole"), reasons, strict=True)
    if (trained := description["adaptation"]) is not None:
        made = ", ".join(f"{count} {stage}" for stage, count in trained["synthetic"].items())
        rows += [
            ("adapter", f"{trained['form']}, rank {trained['rank']}, for a {trained['group']} category"),
            ("trained", f"{trained['epochs']} epochs on {trained['normal']} good and {made} images"),
            (
                "loss",
                f"{trained['losses'][0]:.3f} in the first epoch, {trained['losses'][-1]:.3f} in the last",
            ),
        ]
    if settings:
        from anomalyvfm.features.backbones import cpu_backend
        from anomalyvfm.presets import flat

        backend = cpu_backend(backbone["name"])
        rows.append(
            ("on a CPU", f"{backend} runs the backbone; --device openvino or cpu (torch) says otherwise")
        )
        rows += [("setting", f"{key}={value}") for key, value in flat(description["settings"])]
    click.echo("\n".join(f"{name:<10} {value}" for name, value in rows))


def _backing(calibration: dict[str, Any]) -> str:
    """What stands behind a threshold: how many good images calibrated, and of how many groups they are."""
    from anomalyvfm.decision.calibration import images_needed

    images = calibration["images"]
    groups = calibration.get("groups", images)
    few = "images" if images < images_needed(calibration["false_alarm_rate"]) else "groups"
    kept = "conformal" if calibration["promised"] else f"an estimate, not promised: too few {few}"
    return f"{kept}; by {images} good images" + (
        f" in {groups} groups of their like" if groups < images else ""
    )


def _oddest(images: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The images that fit the others least, in a model without them."""
    listed = ", ".join(f"{one['image']} {one['score']:.1f}" for one in images[:_ODDEST_SHOWN])
    return [("oddest", f"{listed} (scores of good images, each by a model without it)")] if images else []


def _defects(defects: dict[str, Any] | None) -> list[tuple[str, str]]:
    """How many defects a person has confirmed, and what follows from them."""
    if defects is None:
        return []
    counts = "raise the map where it is like them"
    if (log_prior := defects["log_prior"]) is not None:
        counts += f", and scores of images (prior {math.exp(log_prior):.2g})"
    return [("defects", f"{len(defects['images'])} confirmed; they {counts}")]


def _region(roi: dict[str, Any] | None) -> list[tuple[str, str]]:
    """How much of an image counts, where not all does."""
    if roi is None:
        return []
    width, height = roi["size"]
    return [
        ("region", f"{roi['share']:.0%} of an image of {width}×{height} counts; the rest is not looked at")
    ]


def _rules(regions: dict[str, Any], roi: dict[str, Any]) -> list[tuple[str, str]]:
    """What a region must reach to count, where anything is asked of it, and the zones' own rules."""
    everywhere = _least(regions.get("min_level"), regions.get("min_area"))
    rows = [("counts", f"a region of {everywhere}")] if everywhere else []
    for zone in roi.get("zones", ()):
        own = _least(zone["level"], zone["area"]) or "what counts elsewhere"
        rows.append(("zone", f"{zone['name']}: a region of {own}"))
    return rows


def _least(level: float | None, area: int | None) -> str:
    parts = [f"level {level:g} or more"] * bool(level) + [f"{area} pixels or more"] * bool(area)
    return " and ".join(parts)


def _set_aside(images: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The images that were not learned for being unlike the others, where nobody had looked at them."""
    listed = ", ".join(f"{one['image']} {one['score']:.1f}" for one in images[:_ODDEST_SHOWN])
    more = f" and {len(images) - _ODDEST_SHOWN} more" * (len(images) > _ODDEST_SHOWN)
    return [("set aside", f"{listed}{more}: most unlike the others, not learned")] if images else []


def _print_exported(folder: Path, manifest: dict[str, Any]) -> None:
    """What an exported folder's manifest says, a line a fact."""
    made, calibration, parity = manifest["model"], manifest["calibration"], manifest["parity"]
    frame = manifest["input_frame"]
    rows = [
        ("exported", f"{folder}: {manifest['kind']}, {manifest['precision']}, opset {manifest['opset']}"),
        ("from", f"{made['preset']}, {made['images']} good images of {made['category']}"),
        ("model", made["sha256"][:12]),
        ("backbone", f"{made['backbone']['name']}, layers {made['backbone']['layers']}"),
        ("frame", f"{frame['height']}×{frame['width']} px, {frame['aspect']}"),
        (
            "threshold",
            f"{calibration['threshold']:.3f}: at most {calibration['false_alarm_rate']:.2%} of good images"
            f" above ({_backing(calibration)})",
        ),
        (
            "parity",
            f"score within {parity['score']:.2g}, p-value {parity['p_value']:.2g}, map {parity['map']:.2g}"
            f" of the model's, over {parity['images']} good images",
        ),
    ]
    if manifest["kept_in_fp32"]:
        rows.append(("fp32", ", ".join(manifest["kept_in_fp32"])))
    if cost := manifest["quantisation"]:
        rows.append(
            (
                "8 bits",
                f"{cost['plan']}; AUROC on synthetic defects {cost['auroc_int8']:.4f},"
                f" {cost['auroc_fp32']:.4f} in fp32",
            )
        )
    click.echo("\n".join(f"{name:<10} {value}" for name, value in rows))
