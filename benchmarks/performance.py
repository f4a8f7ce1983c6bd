"""Speed and memory beside anomalib and AnomaVision, and above the floor: `make bench-performance`.

    python benchmarks/performance.py [--only predict,fit] [--rounds 3] [--markdown docs/performance.md]

Every figure is of whole processes that run in turn, A B C A B C…, and a ratio is taken within a round, since
machines drift. The table goes to stdout: the median, with the lowest and the highest. All judge the same
images of magnetic_tile at 256 px; anomalib has our weights, AnomaVision the backbone it comes with. Peers are
installed in environments of their own. The machine should have nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from peers import REQUIREMENTS
from performing.bench import Bench
from performing.dino import dino
from performing.fitting import fitting
from performing.flatness import flatness
from performing.floor import floor
from performing.judging import judging
from performing.latency import latency
from performing.plain import plain
from performing.rows import Row, table

_BEGIN, _END = "<!-- measured -->", "<!-- end of measured -->"
_LIBRARIES = ("torch", "openvino", "onnxruntime", "numpy", "pillow")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sections = ("floor", "plain", "fit", "predict", "latency", "memory", "dino")
    parser.add_argument("--only", default=",".join(sections), help=f"of {', '.join(sections)}")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/magnetic_tile"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--learned", type=int, default=500, help="good images to fit on")
    parser.add_argument("--judged", default="100,740", help="images of a short and a long list")
    parser.add_argument("--single", type=int, default=300, help="warm single images for the latency")
    parser.add_argument("--flat", type=int, default=5000, help="images in the largest run for memory")
    parser.add_argument("--patchcore-limit", type=float, default=3600, help="seconds; 0 leaves it out")
    parser.add_argument("--json", type=Path, help="also write every run and row here")
    parser.add_argument("--markdown", type=Path, help=f"also put the table between {_BEGIN} and {_END} here")
    given = parser.parse_args()
    chosen = given.only.split(",")
    if unknown := set(chosen) - set(sections):
        parser.error(f"no section is called {', '.join(sorted(unknown))}")
    short, long = (int(text) for text in given.judged.split(","))
    if short >= long:
        parser.error("--judged takes the shorter list first")
    with tempfile.TemporaryDirectory(prefix="anomalyvfm-performance-") as folder:
        bench = Bench(given.data, Path(folder), given.rounds, (short, long), given.learned)
        measure: dict[str, Callable[[], list[Row]]] = {
            "floor": lambda: floor(bench),
            "plain": lambda: plain(bench),
            "fit": lambda: fitting(bench, given.patchcore_limit),
            "predict": lambda: judging(bench),
            "latency": lambda: latency(bench, given.single),
            "memory": lambda: flatness(bench, given.flat),
            "dino": lambda: dino(bench),
        }
        rows = {section: measure[section]() for section in sections if section in chosen}
    text = "\n\n".join([describe(bench), *(f"### {name}\n\n{table(rows[name])}" for name in rows)])
    print(text)
    if given.json:
        found = {
            "machine": machine(),
            "rows": {
                name: [{**vars(row), "figure": vars(row.figure), "met": row.met} for row in part]
                for name, part in rows.items()
            },
            "runs": bench.log,
        }
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if given.markdown:
        page = given.markdown.read_text(encoding="utf-8")
        given.markdown.write_text(with_measured(page, text), encoding="utf-8")


def machine() -> dict[str, Any]:
    model = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if "MemTotal" in line), 0)
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(memory * 1024 / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "ours": {name: version(name) for name in _LIBRARIES},
        "peers": REQUIREMENTS,
    }


def describe(bench: Bench) -> str:
    found = machine()
    ours = ", ".join(f"{name} {number}" for name, number in found["ours"].items())
    peers = ", ".join(requirements[0].replace("==", " ") for requirements in found["peers"].values())
    return (
        f"{found['cpu']}, {found['cores']} cores, {found['memory_gb']} GB; {found['system']},"
        f" Python {found['python']}, {ours}; {peers}. {bench.rounds} rounds; {bench.learned} images learned,"
        f" {' and '.join(map(str, bench.sizes))} judged."
    )


def with_measured(page: str, text: str) -> str:
    """The page with ``text`` in place of what stood between the two marks.

    Raises:
        SystemExit: the page has no such marks.
    """
    before, begin, rest = page.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"the page has no {_BEGIN} followed by {_END} to put the table between")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _lines(file: str) -> list[str]:
    path = Path(file)
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


if __name__ == "__main__":
    main()
