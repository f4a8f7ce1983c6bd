"""Which scorer is best? Each trial is a recipe on features computed once; `--table` renders docs/trials.md.

    python benchmarks/trials.py --trial v2-now,conditioned --data mt,elpv-mono,elpv-poly,generated
    python benchmarks/trials.py --table
    python benchmarks/trials.py --choice     which recipe synthetic defects choose, and which labels do
    python benchmarks/trials.py --ceiling    a linear probe that is given the labels

A seed decides which good images are learned, as in `benchmarks/accuracy.py`. Learned images are judged as if
they had not been learned, and what they score so standardises the opinions before they are added up.
Features, drawn images and judgements are kept under `--cache`, rows in `--rows`; a trial's last row counts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from anomalyvfm.data.generated import CATEGORIES
from trialing.catalogue import TRIALS
from trialing.ceiling import probe
from trialing.choice import agreement, choose
from trialing.running import GROUPS, run_trial
from trialing.table import render

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trial", default="", help=f"comma-separated, or all: {', '.join(TRIALS)}")
    parser.add_argument("--data", default=",".join(GROUPS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--magnetic-tile", type=Path, default=Path("../shared/data/magnetic_tile"))
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "anomalyvfm-trials")
    parser.add_argument("--rows", type=Path, default=HERE / "trialing" / "rows.jsonl")
    parser.add_argument("--table", action="store_true", help="write docs/trials.md from the rows")
    parser.add_argument("--choice", action="store_true")
    parser.add_argument("--ceiling", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)

    for name in _named(options.trial):
        row = run_trial(name, options.data.split(","), options.seeds, options.magnetic_tile, options.cache)
        print(json.dumps(row), flush=True)
        with options.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    real = [name for name in options.data.split(",") if name != "generated"]
    if options.ceiling:
        for name in real:
            print(name, json.dumps(probe(name, options.magnetic_tile, options.cache)), flush=True)
    if options.choice:
        drawn = CATEGORIES if "generated" in options.data.split(",") else ()
        asked = [(name, 0) for name in drawn] + [(name, seed) for name in real for seed in range(2)]
        found = [choose(name, seed, options.magnetic_tile, options.cache) for name, seed in asked]
        for (name, seed), values in zip(asked, found, strict=True):
            print(name, seed, json.dumps(values))
        print("within 0.005 of the best by labels: {:.2f}; mean loss {:.4f}".format(*agreement(found)))
    if options.table:
        rows = [json.loads(line) for line in options.rows.read_text(encoding="utf-8").splitlines()]
        (HERE.parent / "docs" / "trials.md").write_text(render(rows), encoding="utf-8")


def _named(text: str) -> Iterator[str]:
    names = list(TRIALS) if text == "all" else [name for name in text.split(",") if name]
    for name in names:
        if name not in TRIALS:
            raise SystemExit(f"no trial is called {name!r}; there are: {', '.join(TRIALS)}")
        yield name


if __name__ == "__main__":
    main()
