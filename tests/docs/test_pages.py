"""Every transcript in the docs, run again: `make docs-check`. A page is a session in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.transcripts import files, missing, pages, steps

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that pip finds this version in, as if it had been published."""
    folder = tmp_path_factory.mktemp("wheels")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(pip, check=True)
    return folder


@pytest.mark.docs
@pytest.mark.parametrize("page", pages(ROOT), ids=lambda page: page.stem)
def test_what_a_page_shows_is_what_its_commands_print(page: Path, tmp_path: Path, wheels: Path) -> None:
    commands = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "200",
        "PIP_FIND_LINKS": str(wheels),
    }
    text = page.read_text(encoding="utf-8")
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    for name, content in files(text).items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    wrong, lacking = list[str](), set[str]()
    for step in steps(text):
        if step.needs is not None:
            if not (DATA / step.needs).is_dir():
                lacking.add(step.needs)
                continue
            if not (tmp_path / step.needs).exists():
                (tmp_path / step.needs).symlink_to(DATA / step.needs)
        ran = subprocess.run(
            ["bash", "-c", step.command],
            cwd=tmp_path,
            env={**os.environ, **commands},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
        )
        where = f"{page.relative_to(ROOT)}:{step.line}: $ {step.command}"
        if ran.returncode:
            wrong.append(f"{where}\nends with status {ran.returncode}:\n{ran.stdout}")
        elif lines := missing(step, ran.stdout):
            wrong.append(f"{where}\nno longer prints\n" + "\n".join(lines) + f"\nbut\n{ran.stdout}")
    assert not wrong, "\n\n".join(wrong)
    if lacking:
        pytest.skip(f"all else holds; {', '.join(sorted(lacking))} is not in {DATA}")
