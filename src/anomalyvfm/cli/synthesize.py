"""`anomalyvfm synthesize`: the defects a pipeline trains on, to look at."""

from __future__ import annotations

from pathlib import Path

import click

from anomalyvfm.cli.options import PATH, common, image_size, out, overrides, report, reserve, setting
from anomalyvfm.errors import InputError


@click.command()
@click.argument("data", type=PATH)
@out()
@click.option("--preset", default="v1.1", show_default=True, help="Which pipeline's defects.")
@click.option("--backbone", help="Needed only where the category's group is not known.")
@click.option("--category", help="Which category of a data set's root.")
@image_size("the preset's")
@setting("Any other setting, e.g. synthesis.severity=0.5.")
@common
def synthesize(
    data: Path,
    out: Path,
    overwrite: bool,
    preset: str,
    backbone: str | None,
    category: str | None,
    image_size: str | None,
    settings: tuple[str, ...],
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Write the synthetic defects a pipeline trains on, made from the good images in DATA."""
    from anomalyvfm.data import open_dataset
    from anomalyvfm.files import check_apart, new_folder
    from anomalyvfm.presets import AdaptedPreset
    from anomalyvfm.presets import preset as named_preset

    chosen = named_preset(preset)
    if not isinstance(chosen, AdaptedPreset):
        raise InputError(f"{preset} trains on no synthetic defects; choose --preset v1.1, v1.2, v1.3 or v1.4")
    chosen = chosen.override(overrides(backbone, image_size, settings))
    check_apart(out, data)
    reserve(out, overwrite)
    images = open_dataset(data, category, seed)
    from anomalyvfm.adapted.preview import write_synthetic
    from anomalyvfm.cli.progress import bar

    with new_folder(out, overwrite) as folder:
        counts = write_synthetic(images, chosen, folder, device, seed, bar)
    made = ", ".join(f"{count} {stage}" for stage, count in counts.items())
    report(
        as_json,
        {"out": str(out), "counts": counts},
        lambda: click.echo(f"{made} → {out}/contact_sheet.png"),
    )
