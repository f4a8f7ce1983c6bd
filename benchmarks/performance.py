"""Speed and memory beside the peers, and above the floor: `make bench-performance`.

    python benchmarks/performance.py [--only predict,fit] [--full] [--markdown docs/performance.md]

Every figure is of whole processes that run in turn, A B C A B C…, and a ratio is taken within a round, since
machines drift. Each run is kept the moment it ends, in a file named after code, options and machine, and a
later start goes on from there. The table goes to stdout: the median, with the lowest and the highest. All
judge the same images of magnetic_tile at 256 px; anomalib has our weights, the others the backbones they
come with. `make bench-peers` builds the peers' environments beforehand. The machine should have nothing else
to do.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from kept_rows import PACKAGE
from peers import ADDED, REQUIREMENTS
from performing.bench import BENCHMARKS, Bench
from performing.dino import dino
from performing.fitting import fitting
from performing.flatness import flatness
from performing.floor import floor
from performing.growth import growth
from performing.judging import judging
from performing.latency import latency
from performing.measurements import Measurements, version
from performing.rows import Row, table

_BEGIN, _END = "<!-- measured -->", "<!-- end of measured -->"
_SECTION = "### "
SECTIONS = ("floor", "predict", "fit", "latency", "memory", "dino", "growth")
_LIBRARIES = ("torch", "openvino", "onnxruntime", "numpy", "pillow")
_KEPT = BENCHMARKS / "performing" / "measured"
_WORK = BENCHMARKS.parent / "runs" / "performance"
_FULL = {"rounds": 7, "flat": 50_000, "patchcore_limit": 14_400.0}
# What a measured process does not run through.
_NOT_MEASURED = ("server", "submission", "synthesis", "adapted", "metrics")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/magnetic_tile"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--learned", type=int, default=500, help="good images to fit on")
    parser.add_argument("--judged", default="300,900", help="images of a short and a long list")
    parser.add_argument("--single", type=int, default=300, help="warm single images for the latency")
    parser.add_argument("--flat", type=int, default=5000, help="images in the largest run for memory")
    parser.add_argument("--patchcore-limit", type=float, default=480, help="seconds")
    parser.add_argument("--full", action="store_true", help=f"{_FULL}; takes a day")
    parser.add_argument("--markdown", type=Path, help=f"also put the table between {_BEGIN} and {_END} here")
    given = parser.parse_args()
    if given.full:
        vars(given).update(_FULL)
    chosen = given.only.split(",")
    if unknown := set(chosen) - set(SECTIONS):
        parser.error(f"no section is called {', '.join(sorted(unknown))}")
    short, long = (int(text) for text in given.judged.split(","))
    if short >= long:
        parser.error("--judged takes the shorter list first")
    name = version(_sources(), {"machine": machine(), "learned": given.learned, "data": given.data.name})
    print(f"measured is kept in {_KEPT / name}.jsonl", file=sys.stderr)
    work = _WORK / name
    work.mkdir(parents=True, exist_ok=True)
    measurements = Measurements(_KEPT / f"{name}.jsonl")
    bench = Bench(given.data, work, measurements, given.rounds, (short, long), given.learned)
    measure: dict[str, Callable[[], list[Row]]] = {
        "floor": lambda: floor(bench),
        "predict": lambda: judging(bench),
        "fit": lambda: fitting(bench, given.patchcore_limit),
        "latency": lambda: latency(bench, given.single),
        "memory": lambda: flatness(bench, given.flat),
        "dino": lambda: dino(bench),
        "growth": lambda: growth(bench),
    }
    described = describe(bench)
    print(described)
    for section in SECTIONS:
        if section in chosen:
            text = f"Version {name}.\n\n{table(measure[section]())}"
            print(f"\n### {section}\n\n{text}", flush=True)
            if given.markdown:
                page = given.markdown.read_text(encoding="utf-8")
                given.markdown.write_text(with_measured(page, described, section, text), encoding="utf-8")


def _sources() -> list[Path]:
    """The files that a measurement depends on."""
    ours = [file for file in PACKAGE.rglob("*.py") if file.relative_to(PACKAGE).parts[0] not in _NOT_MEASURED]
    return [*ours, *(BENCHMARKS / "performing").glob("*.py")]


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
        "ours": {name: version_of(name) for name in _LIBRARIES},
        "peers": REQUIREMENTS | {f"{name}, exporting": added for name, added in ADDED.items()},
    }


def describe(bench: Bench) -> str:
    found = machine()
    ours = ", ".join(f"{name} {number}" for name, number in found["ours"].items())
    peers = ", ".join(requirements[0].replace("==", " ") for requirements in REQUIREMENTS.values())
    return (
        f"{found['cpu']}, {found['cores']} cores, {found['memory_gb']} GB; {found['system']},"
        f" Python {found['python']}, {ours}; {peers}. {bench.rounds} rounds; {bench.learned} images learned,"
        f" {' and '.join(map(str, bench.sizes))} judged."
    )


def with_measured(page: str, described: str, section: str, text: str) -> str:
    """The page with the machine, and ``text`` as the section, between the two marks; other sections stay.

    Raises:
        SystemExit: the page has no such marks.
    """
    before, begin, rest = page.partition(_BEGIN)
    old, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"the page has no {_BEGIN} followed by {_END} to put the table between")
    _, *kept = old.split(_SECTION)
    texts = dict(one.split("\n\n", 1) for one in kept)
    texts[section] = f"{text}\n\n"
    body = "".join(f"{_SECTION}{name}\n\n{texts[name]}" for name in SECTIONS if name in texts)
    return f"{before}{begin}\n\n{described}\n\n{body}{end}{after}"


def _lines(file: str) -> list[str]:
    path = Path(file)
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


if __name__ == "__main__":
    main()
