"""What a cluster of one machine costs and gives: fit and predict here, and by 1, 2 and 4 workers on Ray.

python benchmarks/cluster.py [--images 5000] [--out runs/cluster]

Each row is written the moment it is measured, and a run goes on from the rows it finds. `killed` is a fit by
two workers of which one is killed ten times; its model must be that of `ray 2` to the last byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from anomalyvfm.data.generated import draw_good

_KILLS, _SECONDS_A_KILL, _SECONDS_A_LOOK = 10, 40.0, 1.0
_WAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "fit, here": ("fit", ()),
    "fit, ray 2": ("fit", ("--engine", "ray", "--workers", "2")),
    "fit, ray 1": ("fit", ("--engine", "ray", "--workers", "1")),
    "fit, ray 4": ("fit", ("--engine", "ray", "--workers", "4")),
    "fit, killed": ("fit", ("--engine", "ray", "--workers", "2")),
    "predict, here": ("predict", ()),
    "predict, ray 2": ("predict", ("--engine", "ray", "--workers", "2")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--out", type=Path, default=Path("runs/cluster"))
    parser.add_argument("--only", choices=_WAYS, help="this row alone")
    given = parser.parse_args()
    images = drawn_images(given.out / "images", given.images)
    file = given.out / "rows.jsonl"
    rows: dict[str, dict[str, Any]] = {}
    if file.exists():
        lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
        rows = {row["way"]: row for row in lines if row["images"] == given.images}
    for way, (command, engine) in _WAYS.items():
        if way in rows or (given.only and way != given.only):
            continue
        rows[way] = {"way": way, "images": given.images, **_measured(given.out, images, way, command, engine)}
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(rows[way]) + "\n")
        _print(rows)
    _print(rows)


def drawn_images(folder: Path, count: int) -> Path:
    """So many good images of 256 px."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        place = folder / f"{number:05}.png"
        if not place.exists():
            image = draw_good("grains", 256, np.random.default_rng(number))
            Image.fromarray(image).save(place.with_suffix(".partial"), "PNG", compress_level=1)
            place.with_suffix(".partial").replace(place)
    for left in sorted(folder.glob("*.png"))[count:]:
        left.unlink()
    return folder


def _measured(out: Path, images: Path, way: str, command: str, engine: tuple[str, ...]) -> dict[str, Any]:
    result = out / way.replace(", ", "-").replace(" ", "")
    for left in (result, result.with_name(f"{result.name}.parts")):
        shutil.rmtree(left, ignore_errors=True)
    asked: list[str | Path] = ["fit", images]
    if command == "predict":
        asked = ["predict", out / "fit-here", images, "--maps", "none"]
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "anomalyvfm", *map(str, asked), "--out", str(result), "--json", *engine],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    peaks, kills = _watched(process, _KILLS if way.endswith("killed") else 0)
    assert process.stdout is not None
    told = json.loads(process.stdout.read())
    seconds = time.perf_counter() - started
    if process.wait():
        raise SystemExit(f"{way}: exit status {process.returncode}")
    model = result / "model.safetensors"
    return {
        "seconds": round(seconds, 1),
        "images_per_second": round(len(list(images.iterdir())) / seconds, 2),
        "kills": kills,
        "memory_mb": peaks,
        "cluster": told.get("cluster"),
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest() if model.exists() else None,
    }


def _watched(process: subprocess.Popen[bytes], kills: int) -> tuple[dict[str, list[int]], int]:
    """Memory, MB, of the command and its largest worker each tenth of a minute; how many were killed."""
    rng = random.Random(0)
    every: dict[str, list[int]] = {"command": [], "worker": []}
    started, done = time.perf_counter(), 0
    whole = psutil.Process(process.pid)
    while process.poll() is None:
        slot = int((time.perf_counter() - started) / 6)
        with suppress(psutil.Error):
            workers = [one for one in whole.children(recursive=True) if _is_worker(one)]
            _raise(every["command"], slot, whole.memory_info().rss)
            for one in workers:
                _raise(every["worker"], slot, one.memory_info().rss)
            # Spread over the run, once the workers are at it.
            if (
                done < kills
                and len(workers) > 1
                and time.perf_counter() - started > _SECONDS_A_KILL * (done + 1)
            ):
                rng.choice(workers).kill()
                done += 1
        time.sleep(_SECONDS_A_LOOK)
    return every, done


def _is_worker(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "ray::_Actor" in " ".join(process.cmdline())
    return False


def _raise(peaks: list[int], slot: int, size: int) -> None:
    peaks += [0] * (slot + 1 - len(peaks))
    peaks[slot] = max(peaks[slot], round(size / 1e6))


def _print(rows: dict[str, dict[str, Any]]) -> None:
    print("| | images/s | to here | merge | gather | else | parts | lost | worker, MB: first, last third |")
    print("|---|---|---|---|---|---|---|---|---|")
    for way, row in rows.items():
        here = rows.get(f"{way.split(',')[0]}, here")
        ratio = row["images_per_second"] / here["images_per_second"] if here else float("nan")
        of = row["cluster"] or {}
        merge, gather = (
            f"{of[key]:.1f} s" if key in of else "" for key in ("merge_seconds", "gather_seconds")
        )
        # Its start, and what is done here alone: a fit calibrates, a prediction loads the model.
        alone = f"{row['seconds'] - of['seconds']:.1f} s" if of else ""
        worker = row["memory_mb"]["worker"]
        third = max(1, len(worker) // 3)
        memory = f"{max(worker[:third])}, {max(worker[-third:])}" if worker else ""
        rate, parts, lost = row["images_per_second"], of.get("parts", ""), len(of.get("workers_lost", ()))
        print(
            f"| {way} | {rate:.2f} | {ratio:.2f} | {merge} | {gather} | {alone}"
            f" | {parts} | {lost} | {memory} |"
        )
    if {"fit, ray 2", "fit, killed"} <= set(rows):
        same = rows["fit, ray 2"]["sha256"] == rows["fit, killed"]["sha256"]
        print(
            f"the model after {rows['fit, killed']['kills']} kills is {'the same' if same else 'ANOTHER'}\n"
        )


if __name__ == "__main__":
    main()
