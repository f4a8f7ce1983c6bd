"""Which scorer is best? Each trial is a recipe on features computed once; `--table` renders docs/trials.md.

    python benchmarks/trials.py --trial v2-now,conditioned --data mt,elpv-mono,elpv-poly,generated
    python benchmarks/trials.py --table
    python benchmarks/trials.py --choice     which recipe synthetic defects choose, and which labels do
    python benchmarks/trials.py --ceiling    a linear probe that is given the labels
    python benchmarks/trials.py --light      good images learned under another light as well
    python benchmarks/trials.py --prior      the prior's weight, chosen by the likelihood of good images
    python benchmarks/trials.py --head       a small network trained on synthetic defects

A seed decides which good images are learned, as in `benchmarks/accuracy.py`. Learned images are judged as if
they had not been learned, and what they score so standardises the opinions before they are added up.
Features, drawn images and judgements are kept under `--cache`, rows in `--rows`; a trial's last row counts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from anomalyvfm.data.generated import CATEGORIES
from trialing.catalogue import TRIALS
from trialing.ceiling import probe
from trialing.choice import agreement, choose
from trialing.head import head
from trialing.light import light
from trialing.material import material
from trialing.opinions import Case
from trialing.prior import prior
from trialing.running import GROUPS, run_trial
from trialing.table import experiment_table, render

HERE = Path(__file__).parent
EXPERIMENTS = {"light": light, "prior": prior, "head": head}


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
    for name in EXPERIMENTS:
        parser.add_argument(f"--{name}", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)

    groups = options.data.split(",")
    for name in _named(options.trial):
        row = run_trial(name, groups, options.seeds, options.magnetic_tile, options.cache)
        print(json.dumps(row), flush=True)
        _append(options.rows, [row])
    real = [name for name in groups if name != "generated"]
    drawn = CATEGORIES if "generated" in groups else ()
    for name, experiment in EXPERIMENTS.items():
        if not getattr(options, name):
            continue
        rows = []
        for data in (*real, *drawn):
            case = Case(material(data, options.magnetic_tile, options.cache), 0, options.cache)
            rows += [{"trial": name, "tried": tried, "data": data, **row} for tried, row in experiment(case)]
        _append(options.rows, rows)
        print("\n".join(experiment_table(rows)), flush=True)
    if options.ceiling:
        for name in real:
            print(name, json.dumps(probe(name, options.magnetic_tile, options.cache)), flush=True)
    if options.choice:
        asked = [(name, 0) for name in drawn] + [(name, seed) for name in real for seed in range(2)]
        found = [choose(name, seed, options.magnetic_tile, options.cache) for name, seed in asked]
        for (name, seed), values in zip(asked, found, strict=True):
            print(name, seed, json.dumps(values))
        print("within 0.005 of the best by labels: {:.2f}; mean loss {:.4f}".format(*agreement(found)))
    if options.table:
        rows = [json.loads(line) for line in options.rows.read_text(encoding="utf-8").splitlines()]
        (HERE.parent / "docs" / "trials.md").write_text(render(rows), encoding="utf-8")


def _append(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _named(text: str) -> Iterator[str]:
    names = list(TRIALS) if text == "all" else [name for name in text.split(",") if name]
    for name in names:
        if name not in TRIALS:
            raise SystemExit(f"no trial is called {name!r}; there are: {', '.join(TRIALS)}")
        yield name


if __name__ == "__main__":
    main()
