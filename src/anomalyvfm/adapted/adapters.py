"""The adapters of v1.1 to v1.4: low-rank layers that map features to features."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalyvfm.adapted.layers import LowRank, check_rank, seeded
from anomalyvfm.errors import InputError
from anomalyvfm.pipeline import under

# Vectors adapted at once when scoring: bounds the temporary arrays of the fusing forms, whatever the grid.
_CHUNK = 8192

LAYERS = 3
"""Low-rank layers one after another, in every form."""


class Adapter(nn.Module, ABC):
    """Maps feature vectors to feature vectors of the same width D; what is trained beside a head.

    ``scales`` is how many vectors, one for each size an image is seen at, make one adapted vector.
    """

    width: int
    scales: int = 1

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """(B, ..., D) features, or (B, ..., S, D) with several scales, to (B, ..., D) adapted ones."""

    @torch.no_grad()
    def adapt(self, features: Tensor) -> Tensor:
        """As `forward`, for scoring: without dropout or gradient, in chunks, and scaled to unit length.

        (..., D) or (..., S, D) on any device → (..., D) float32 on the adapter's.
        """
        if torch.compiler.is_exporting():  # a graph for any number of images cannot be cut by it
            return self.unit(features)
        trailing = 1 if self.scales == 1 else 2
        shape = features.shape[: features.ndim - trailing]
        vectors = features.reshape(-1, *features.shape[features.ndim - trailing :])
        device = next(self.parameters()).device
        training = self.training
        self.eval()
        parts = [self.unit(part.to(device, torch.float32)) for part in torch.split(vectors, _CHUNK)]
        self.train(training)
        return torch.cat(parts).reshape(*shape, self.width)

    def unit(self, features: Tensor) -> Tensor:
        """As `forward`, scaled to unit length."""
        return F.normalize(self(features), dim=-1)


def attention_heads(width: int) -> int:
    """The 8 heads of v1.3 and v1.4, or the most below that divide the width: attention needs equal ones."""
    return next(heads for heads in range(8, 0, -1) if width % heads == 0)


class ChainAdapter(Adapter):
    """Of v1.1 and v1.2: x ← x + (alpha / rank) · dropout(x·A·B), three times; untrained, nothing changes."""

    def __init__(self, width: int, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.ModuleList(LowRank(width, rank, alpha, dropout) for _ in range(LAYERS))

    def forward(self, features: Tensor) -> Tensor:
        x = features  # (B, ..., D)
        for layer in self.layers:
            x = x + layer(x)
        return x


class GatedAdapter(Adapter):
    """Of v1.4: three gated layers one after another, their outputs mixed by attention between layers.

    The attention has 8 heads, or as many as divide D. What comes out of it for each layer is averaged over
    the layers, weighted by the layers' gates.
    """

    def __init__(self, width: int, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.ModuleList(GatedLayer(width, rank, alpha, dropout) for _ in range(LAYERS))
        self.attention = nn.MultiheadAttention(width, attention_heads(width), batch_first=True)

    def forward(self, features: Tensor) -> Tensor:
        x = features  # (B, ..., D)
        outputs, gates = [], []
        for layer in self.layers:
            x, gate = layer(x)
            outputs.append(x)
            gates.append(gate)
        stacked = torch.stack(outputs, dim=-2).flatten(0, -3)  # (N, layers, D)
        weights = torch.stack(gates, dim=-2).flatten(0, -3)  # (N, layers, 1)
        mixed, _ = self.attention(stacked, stacked, stacked, need_weights=False)  # (N, layers, D)
        average: Tensor = (weights * mixed).sum(dim=1) / weights.sum(dim=1)  # (N, D)
        return average.reshape(features.shape)


class GatedLayer(nn.Module):
    """x + gate · importance · update(LayerNorm(x)): a gate for the vector, an importance for each channel."""

    def __init__(self, width: int, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        quarter, eighth, half = (max(1, width // part) for part in (4, 8, 2))
        self.norm = nn.LayerNorm(width)
        self.update = LowRank(width, rank, alpha, dropout)
        self.gate = nn.Sequential(
            nn.Linear(width, quarter),
            nn.ReLU(),
            nn.Linear(quarter, eighth),
            nn.ReLU(),
            nn.Linear(eighth, 1),
            nn.Sigmoid(),
        )
        self.importance = nn.Sequential(
            nn.Linear(width, half), nn.ReLU(), nn.Linear(half, width), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(..., D) to (..., D), and the gate (..., 1)."""
        normed = self.norm(x)
        gate: Tensor = self.gate(normed)
        return x + gate * self.importance(normed) * self.update(normed), gate


class MultiScaleAdapter(Adapter):
    """Of v1.3: a chain and a projection a scale, softmax weights, attention between scales, an MLP to D.

    The attention has 8 heads, or as many as divide D; the MLP is S·D → 2·D → D with a ReLU between, and a
    LayerNorm after it.
    """

    def __init__(self, width: int, rank: int, alpha: float, dropout: float, scales: int = 3) -> None:
        super().__init__()
        self.width = width
        self.scales = scales
        self.chains = nn.ModuleList(
            nn.Sequential(*(ScaledLayer(width, rank, alpha, dropout) for _ in range(LAYERS)))
            for _ in range(scales)
        )
        self.projections = nn.ModuleList(nn.Linear(width, width) for _ in range(scales))
        self.scale_weights = nn.Parameter(torch.zeros(scales))
        self.attention = nn.MultiheadAttention(width, attention_heads(width), batch_first=True)
        self.fusion = nn.Sequential(
            nn.Linear(scales * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width), nn.LayerNorm(width)
        )

    def forward(self, features: Tensor) -> Tensor:
        adapted = [
            projection(chain(x))
            for x, chain, projection in zip(features.unbind(-2), self.chains, self.projections, strict=True)
        ]
        weighted = self.scale_weights.softmax(0)[:, None] * torch.stack(adapted, dim=-2)  # (B, ..., S, D)
        tokens = weighted.flatten(0, -3)  # (N, S, D)
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)  # (N, S, D)
        fused: Tensor = self.fusion(mixed.flatten(1))  # (N, D)
        return fused.reshape(*features.shape[:-2], self.width)


class ScaledLayer(nn.Module):
    """x + gate · update(LayerNorm(x)), with one learned gate for the vector."""

    def __init__(self, width: int, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        quarter = max(1, width // 4)
        self.norm = nn.LayerNorm(width)
        self.update = LowRank(width, rank, alpha, dropout)
        self.gate = nn.Sequential(nn.Linear(width, quarter), nn.ReLU(), nn.Linear(quarter, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        updated: Tensor = x + self.gate(normed) * self.update(normed)
        return updated


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
    mine = under(dict(tensors), prefix)
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    if expected != {name: tensor.shape for name, tensor in mine.items()}:
        raise InputError(
            f"the stored weights of the {prefix} are not those of its settings; fit the model anew"
        )
    module.load_state_dict(mine)
