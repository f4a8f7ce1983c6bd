"""`anomalyvfm demo`: the whole way on real solar cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from anomalyvfm.cli.options import common, out, report, reserve


@click.command()
@out(default="anomalyvfm-demo", show_default=True)
@common
def demo(out: Path, overwrite: bool, as_json: bool, device: str, seed: int) -> None:
    """Learn real solar cells from good ones, judge the rest, and show the worst."""
    reserve(out, overwrite)
    from anomalyvfm.cli.progress import bar
    from anomalyvfm.demo import run_demo

    result = run_demo(out, overwrite, device, seed, bar)
    report(as_json, result, lambda: _print_result(result))


def _print_result(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Solar cells the detector had not seen", title_justify="left")
    table.add_column("cell is")
    for column in ("judged good", "judged anomalous"):
        table.add_column(column, justify="right")
    for truth, counts in result["table"].items():
        table.add_row(truth, *(str(counts[column]) for column in ("judged good", "judged anomalous")))
    console = Console()
    console.print(table)
    console.print(
        f"image AUROC {result['metrics']['image_auroc']:.3f};"
        f" the worst twenty → {result['out']}/contact_sheet.png"
    )
