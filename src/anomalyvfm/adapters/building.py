"""Adapters by name, from settings or from stored tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn

from anomalyvfm.adapters.adapter import Adapter
from anomalyvfm.adapters.chain import ChainAdapter
from anomalyvfm.adapters.gated import GatedAdapter
from anomalyvfm.adapters.low_rank import check_rank
from anomalyvfm.adapters.multiscale import MultiScaleAdapter
from anomalyvfm.adapters.seeding import seeded
from anomalyvfm.errors import InputError

Form = Literal["chain", "gated", "multiscale"]

_FORMS: dict[Form, type[ChainAdapter | GatedAdapter | MultiScaleAdapter]] = {
    "chain": ChainAdapter,
    "gated": GatedAdapter,
    "multiscale": MultiScaleAdapter,
}


def build(form: Form, width: int, *, rank: int, alpha: float, dropout: float = 0.1, seed: int = 0) -> Adapter:
    """An untrained adapter for features of `width` dimensions; the same seed gives the same weights.

    Raises InputError for a rank above the width.
    """
    check_rank(width, rank)
    with seeded(seed):
        return _FORMS[form](width, rank, alpha, dropout)


def to_tensors(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    """A module's weights, on the CPU, under names that begin with `prefix` and a dot."""
    return {
        f"{prefix}.{name}": tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()
    }


def digest(module: nn.Module) -> str:
    """Tells modules of other weights apart."""
    found = hashlib.sha256()
    for name, tensor in sorted(to_tensors(module, "adapter").items()):
        found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def load_tensors(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Fill a module with what `to_tensors` gave. Raises InputError where names or shapes differ."""
    start = f"{prefix}."
    mine = {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    if expected != {name: tensor.shape for name, tensor in mine.items()}:
        raise InputError(
            f"the stored weights of the {prefix} are not those of its settings; fit the model anew"
        )
    module.load_state_dict(mine)
