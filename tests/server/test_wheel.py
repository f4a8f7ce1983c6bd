"""The package as it is installed: with pages, styles, scripts and migrations, and able to serve."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_wheel_holds_all_files_and_serves(tmp_path: Path, fitted_folder: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path)]
    built = subprocess.run([*build, str(source)], capture_output=True, text=True)
    if built.returncode and "hatchling" in built.stderr:
        pytest.skip("the build backend, hatchling, cannot be had here")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    wanted = {path.relative_to(source / "src") for path in (source / "src").rglob("*") if path.is_file()}
    held = {path.relative_to(tmp_path / "installed") for path in (tmp_path / "installed").rglob("*")}
    assert {path for path in wanted if path.suffix != ".py"}, "pages and migrations are among them"
    assert not wanted - held

    serve = [sys.executable, "-m", "anomalyvfm", "serve", str(fitted_folder), "--port", "0", "--json"]
    process = subprocess.Popen(
        [*serve, "--data", str(tmp_path / "station")],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        url = json.loads(process.stdout.readline())["url"]
        for path in ("/health", "/wall", "/api/models"):
            with urlopen(url + path, timeout=30) as answer:
                assert answer.status == 200
    finally:
        process.terminate()
        assert process.wait(60) == 0
