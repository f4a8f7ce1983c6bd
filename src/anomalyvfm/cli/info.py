"""`anomalyvfm info`: what a model is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from anomalyvfm.cli.options import PATH, common, report


@click.command()
@click.argument("model", type=PATH)
@common
def info(model: Path, as_json: bool, device: str, seed: int) -> None:
    """Say what MODEL is: backbone, settings, calibration, what it learned."""
    from anomalyvfm.model_file import read_description

    description = read_description(model)
    report(as_json, description, lambda: print_model(model, description, settings=True))


def print_model(folder: Path, description: dict[str, Any], settings: bool = False) -> None:
    """What a model's description says, a line a fact."""
    fitted, calibration = description["fitted_on"], description["calibration"]
    canvas, backbone = description["canvas"], description["backbone"]
    kept = "conformal" if calibration["promised"] else "extrapolated from too few images"
    rows = [
        ("model", str(folder)),
        ("learned", f"{fitted['images']} good images of {fitted['category']} in {fitted['seconds']:.1f} s"),
        ("skipped", f"{fitted['skipped']} unreadable"),
        ("gallery", f"{fitted['shown']} of the good images are kept small, to show beside odd places"),
        (
            "backbone",
            f"{backbone['name']}, layers {backbone['layers']}, weights {backbone['weight_hash'][:12]}",
        ),
        ("canvas", f"{canvas['height']}×{canvas['width']} px, {canvas['aspect']}"),
        (
            "threshold",
            f"{calibration['threshold']:.3f}: at most {calibration['false_alarm_rate']:.2%} of good images"
            f" above ({kept}; by {calibration['images']} good images)",
        ),
    ]
    if (grid := description.get("grid")) is not None:
        shape = f"{grid['height']}×{grid['width']} × {grid['dimensions']} of {grid['channels']} channels"
        rows.insert(-1, ("grid", shape))
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
        from anomalyvfm.presets import flat

        rows += [("setting", f"{key}={value}") for key, value in flat(description["settings"])]
    click.echo("\n".join(f"{name:<10} {value}" for name, value in rows))
