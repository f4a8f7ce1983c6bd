"""`anomalyvfm rank`: a batch of images judged by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anomalyvfm.cli.options import (
    PLACE,
    common,
    given_roi,
    image_size,
    out,
    overrides,
    report,
    reserve,
    roi_options,
    setting,
)

if TYPE_CHECKING:
    from anomalyvfm.ranking.rank import Ranking
    from anomalyvfm.ranking.writing import Maps

_NAMED = 10


@click.command()
@click.argument("images", nargs=-1, required=True, type=PLACE)
@out()
@click.option("--backbone", help="Name, or folder in the model hub's format.  [default: v2's]")
@image_size("the backbone's")
@setting("image.* and gaussian.scales, as for `fit`.")
@roi_options
@click.option(
    "--odd-share",
    default=0.05,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Of the images, those called odd.",
)
@click.option(
    "--maps",
    default="oddest",
    show_default=True,
    type=click.Choice(["oddest", "all", "none"]),
    help="Of which images an overlay is written, a JPEG.",
)
@click.option("--recursive", is_flag=True, help="Also the images in sub-folders of folders with images.")
@common
def rank(
    images: tuple[Path | str, ...],
    out: Path,
    overwrite: bool,
    backbone: str | None,
    image_size: str | None,
    settings: tuple[str, ...],
    roi: Path | None,
    ignore: Path | None,
    odd_share: float,
    maps: Maps,
    recursive: bool,
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Put IMAGES, of which none need be good, in the order in which they are unlike the others.

    Each is compared with the others, piece by piece: what is in few of them is odd. Writes ranking.csv,
    contact_sheet.jpg, from the oddest to the plainest, and maps/ to --out.
    """
    from anomalyvfm.files import check_apart, new_folder
    from anomalyvfm.predictions.finding import find_images
    from anomalyvfm.presets import GaussianPreset, preset

    chosen = preset("v2").override(overrides(backbone, image_size, settings))
    assert isinstance(chosen, GaussianPreset)
    reserve(out, overwrite)
    check_apart(out, *(place for place in images if isinstance(place, Path)))
    found = find_images(images, recursive)
    region = given_roi(roi, ignore)
    from anomalyvfm.cli.progress import bar
    from anomalyvfm.ranking.rank import rank as rank_batch
    from anomalyvfm.ranking.writing import write_ranking

    ranking = rank_batch(found, chosen, odd_share, device, seed, bar, region)
    with new_folder(out, overwrite) as folder:
        write_ranking(ranking, found, folder, chosen.image, maps, bar)
    oddest = [
        {"path": str(found[row]), "score": round(float(ranking.scores[row]), 4)}
        for row in ranking.order[: ranking.odd]
    ]
    body = {
        "out": str(out),
        "images": len(found),
        "unreadable": len(ranking.broken),
        "compared_with": ranking.references,
        "oddest": oddest,
    }
    report(as_json, body, lambda: _print(body, ranking, out))


def _print(body: dict[str, Any], ranking: Ranking, out: Path) -> None:
    for rank, one in enumerate(body["oddest"][:_NAMED], start=1):
        click.echo(f"{rank:>4}  {one['score']:>6.1f}  {one['path']}")
    if (more := len(body["oddest"]) - _NAMED) > 0:
        click.echo(f"and {more} more")
    click.echo(
        f"{body['images']} images, {body['unreadable']} unreadable, each compared with"
        f" {body['compared_with']} of them → {out}"
    )
