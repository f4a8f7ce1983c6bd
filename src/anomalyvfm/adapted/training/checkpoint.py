"""A training run's state in one safetensors file: weights, the optimiser's moments, and the curve so far."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anomalyvfm.errors import InputError
from anomalyvfm.files import share

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")
_FORMAT = "anomalyvfm training 1"


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.AdamW, state: dict[str, Any]
) -> None:
    """Write the file whole or not at all; `state` is JSON and goes into its header."""
    from safetensors.torch import save_file

    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for moment in _MOMENTS:
            tensors[f"optimizer.{name}.{moment}"] = optimizer.state[parameter][moment]
    partial = path.with_name(f".{path.name}.partial")
    with _blaming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            partial,
            metadata={"format": _FORMAT, "state": json.dumps(state)},
        )
        share(partial)
        partial.replace(path)


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.AdamW, identity: dict[str, Any]
) -> dict[str, Any]:
    """Fill model and optimiser; return the state. Raises InputError for another run's or a broken file.

    `identity` is what the state must hold under that name: the settings and data of this run.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise InputError(f"{path}: no checkpoint of a training run; delete it or name another file")
            state: dict[str, Any] = json.loads(metadata["state"])
            differing = [key for key in identity if identity[key] != state["identity"].get(key)]
            if differing:
                raise InputError(
                    f"{path}: from a run with other {', '.join(differing)}; delete it to start anew"
                )
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read ({_line(error)}); delete it to start anew") from None
    model.load_state_dict(
        {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    )
    for name, parameter in model.named_parameters():
        optimizer.state[parameter] = {
            moment: tensors[f"optimizer.{name}.{moment}"].to(parameter.device) for moment in _MOMENTS
        }
    return state


def fingerprint(rows: Tensor, looked_at: int = 64) -> str:
    """A hash of a data set's shape, type and some of its rows, evenly spaced: enough to tell runs apart."""
    digest = hashlib.blake2b(f"{tuple(rows.shape)} {rows.dtype}".encode(), digest_size=12)
    for index in range(0, len(rows), max(1, len(rows) // looked_at)):
        digest.update(rows[index].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({_line(error)}); free the disk or choose another place"
        ) from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
