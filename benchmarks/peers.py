"""Other systems, each in an environment of its own under bench-envs/ so that none touches ours."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ENVIRONMENTS = Path(__file__).resolve().parent.parent / "bench-envs"

# anomalib leaves torch and torchvision to the user, and the two must be of one build: "===" takes the index's
# own build of torch, as torchvision's is, even where pip also finds a CPU-only one.
REQUIREMENTS = {"anomalib": ["anomalib==2.7.0", "torch===2.13.0", "torchvision"]}


def peer_python(name: str) -> Path:
    """The Python of a peer's environment, built first where it is missing (several GB, some minutes).

    Args:
        name: a key of `REQUIREMENTS`.

    Raises:
        subprocess.CalledProcessError: the install failed; pip has said why.
    """
    folder = ENVIRONMENTS / name
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    done = folder / ".requirements"  # written last: an interrupted install is done again
    wanted = "\n".join(REQUIREMENTS[name])
    if not done.exists() or done.read_text() != wanted:
        print(f"installing {name} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS[name]], check=True)
        done.write_text(wanted)
    return python
