"""`anomalyvfm export`: a model as one graph that runs without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from anomalyvfm.cli.options import PATH, common, out, report, reserve, weights_moved
from anomalyvfm.errors import InputError


@click.command()
@click.argument("model", type=PATH)
@click.option("--to", "kind", required=True, type=click.Choice(["onnx", "openvino"]), help="What runs it.")
@out()
@click.option(
    "--precision",
    default="fp32",
    show_default=True,
    type=click.Choice(["fp32", "fp16", "int8"]),
    help="fp16: stored in half; int8: an 8-bit backbone.",
)
@click.option(
    "--images",
    type=PATH,
    help="Folder of good images to compare and quantise by.  [default: those MODEL keeps]",
)
@weights_moved
@common
def export(
    model: Path,
    kind: str,
    out: Path,
    overwrite: bool,
    precision: str,
    images: Path | None,
    backbone: str | None,
    as_json: bool,
    device: str,
    seed: int,
) -> None:
    """Write MODEL as one graph, from raw RGB bytes to score, p-value and map, for an inspection PC."""
    from anomalyvfm.files import check_apart
    from anomalyvfm.model_folder import read_description

    if device not in ("auto", "cpu"):
        raise InputError(f"--device {device}: models are exported on the CPU; leave it out")
    reserve(out, overwrite)
    check_apart(out, model, *([images] if images else []))
    described = read_description(model)
    from anomalyvfm.predictions.finding import find_images

    good = find_images([images]) if images else []
    try:
        from anomalyvfm.export.exporting import check_installed
        from anomalyvfm.export.exporting import export as write
    except ImportError as error:
        raise InputError(f"export needs {error.name}: pip install 'anomalyvfm[export]' brings it") from None
    check_installed(kind)
    from anomalyvfm.detector import Detector

    detector = Detector.load(model, backbone=backbone, device="cpu")
    source = {
        "sha256": described["sha256"],
        "preset": described["settings"]["name"],
        "backbone": described["backbone"],
        "category": described["fitted_on"]["category"],
        "images": described["fitted_on"]["images"],
    }
    written = write(detector, out, kind, precision, good, overwrite, source)
    report(as_json, {"out": str(out), **written}, lambda: click.echo("\n".join(_lines(out, written))))


def _lines(out: Path, written: dict[str, Any]) -> list[str]:
    parity, cost = written["parity"], written["quantisation"]
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    lines = [
        f"{written['kind']} in {written['precision']}, {size:.0f} MB → {out}",
        f"beside the model, over {parity['images']} good images: score differs by at most"
        f" {parity['score']:.2g}, p-value by {parity['p_value']:.2g}, map by {parity['map']:.2g}",
    ]
    if written["kept_in_fp32"]:
        lines.append(f"kept in fp32, as scores would change: {', '.join(written['kept_in_fp32'])}")
    if cost:
        lines.append(
            f"8 bits for {cost['plan']}: image AUROC on synthetic defects {cost['auroc_int8']:.4f},"
            f" {cost['auroc_fp32']:.4f} in fp32"
        )
    return lines
