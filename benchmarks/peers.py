"""Other systems, each in an environment of its own under bench-envs/ so that none touches ours.

    python benchmarks/peers.py

builds them all, several GB each.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ENVIRONMENTS = Path(__file__).resolve().parent.parent / "bench-envs"

# anomalib leaves torch and torchvision to the user, and the two must be of one build: "===" takes the index's
# own build of torch, as torchvision's is, even where pip also finds a CPU-only one.
_TORCH = ["torch===2.13.0", "torchvision"]
REQUIREMENTS = {
    "anomalib": ["anomalib==2.7.0", *_TORCH],
    "anomavision": ["anomavision==3.6.2", *_TORCH],
    "pyimgano": ["pyimgano==0.9.1", *_TORCH],
}
# Added to an environment that is there already, so that what was measured in it stays as it was.
ADDED = {"anomalib": ["openvino==2026.4.1", "onnx==1.23.2", "onnxscript==0.7.2"]}


def peer_python(name: str, exporting: bool = False) -> Path:
    """The Python of a peer's environment, built first where it is missing (several GB, some minutes).

    Args:
        name: a key of `REQUIREMENTS`.
        exporting: also with what the peer needs to export its models, `ADDED`.

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
    if exporting and name in ADDED:
        _add(python, ADDED[name], folder / ".added")
    return python


def _add(python: Path, requirements: list[str], done: Path) -> None:
    wanted = "\n".join(requirements)
    if not done.exists() or done.read_text() != wanted:
        print(f"adding {' '.join(requirements)} to {done.parent}", file=sys.stderr)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        done.write_text(wanted)


if __name__ == "__main__":
    for peer in REQUIREMENTS:
        print(peer_python(peer, exporting=True))
