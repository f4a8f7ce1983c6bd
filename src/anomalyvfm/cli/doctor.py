"""`anomalyvfm doctor`: whether this machine can do the work."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from anomalyvfm.cli.options import common, report

_MARKS = {(True, True): "ok", (True, False): "ok", (False, True): "NO", (False, False): "--"}


@click.command()
@common
def doctor(as_json: bool, device: str, seed: int) -> None:
    """Check this machine: versions, devices, weights, and the whole chain on drawn images."""
    from anomalyvfm.doctor import examine

    findings = examine(device)
    ready = all(finding.ok or not finding.needed for finding in findings)
    report(
        as_json,
        {"ok": ready, "findings": [asdict(finding) for finding in findings]},
        lambda: click.echo("\n".join(f"{_MARKS[f.ok, f.needed]} {f.what}: {f.found}" for f in findings)),
    )
    if not ready:
        sys.exit(2)
