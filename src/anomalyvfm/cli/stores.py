"""`anomalyvfm push` and `anomalyvfm pull`: models in stores elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from anomalyvfm.cli.options import PATH, common, out, report, reserve

if TYPE_CHECKING:
    from anomalyvfm.model_store import Stored


@click.command()
@click.argument("model", type=PATH)
@click.argument("url")
@click.option("--overwrite", is_flag=True, help="Replace a model that is there; nothing else.")
@common
def push(model: Path, url: str, overwrite: bool, as_json: bool, device: str, seed: int) -> None:
    """Put MODEL, fitted or exported, at URL: s3://bucket/gear, gs://…, sftp://…, or whatever fsspec knows."""
    from anomalyvfm.cli.progress import bar
    from anomalyvfm.model_store import push as put

    stored = put(model, url, overwrite, bar)
    _say(as_json, stored, f"{model} → {stored.url}")


@click.command()
@click.argument("url")
@out()
@common
def pull(url: str, out: Path, overwrite: bool, as_json: bool, device: str, seed: int) -> None:
    """Take the model at URL into a new folder, whole and as it was put there, or not at all."""
    from anomalyvfm.cli.progress import bar
    from anomalyvfm.model_store import pull as take

    reserve(out, overwrite)
    stored = take(url, out, overwrite, bar)
    _say(as_json, stored, f"{stored.url} → {out}")


def _say(as_json: bool, stored: Stored, way: str) -> None:
    said = f"{way}: {len(stored.files)} files, {stored.bytes / 1e6:.1f} MB, {stored.sha256[:12]}"
    report(as_json, asdict(stored), lambda: click.echo(said))
