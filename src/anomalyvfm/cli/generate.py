"""`anomalyvfm generate`: draw a data set."""

from __future__ import annotations

from pathlib import Path

import click

from anomalyvfm.cli.options import common, names, out, report, reserve


@click.command()
@out()
@click.option("--categories", help="Comma-separated; all eight by default.")
@click.option(
    "--images", default=60, show_default=True, type=click.IntRange(2), help="Good images to train on."
)
@click.option("--size", default=256, show_default=True, type=click.IntRange(32, 4096), help="Side in pixels.")
@common
def generate(
    out: Path,
    overwrite: bool,
    categories: str | None,
    images: int,
    size: int,
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Draw a data set in the layout of MVTec AD 2: eight products, five lightings, exact masks."""
    from anomalyvfm.cli.progress import status
    from anomalyvfm.data.generated import CATEGORIES
    from anomalyvfm.data.generated import generate as draw
    from anomalyvfm.files import new_folder

    reserve(out, overwrite)
    chosen = names(categories) if categories else CATEGORIES
    with new_folder(out, overwrite) as folder, status("drawing") as say:
        written = draw(folder, chosen, images, size, seed, say)
    report(
        as_json,
        {"out": str(out), "files": written},
        lambda: click.echo("\n".join(f"{name}: {count} files" for name, count in written.items())),
    )
