"""An adapter and a head learn to tell good features from those of synthetic defects."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anomalyvfm.adapted.layers import begin_batch
from anomalyvfm.adapted.training.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from anomalyvfm.adapted.training.losses import confidence, confidence_map_loss, weighted_loss
from anomalyvfm.adapted.training.processes import Processes, cores_for
from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.backbone import AUTOCAST_TYPES, resolve_device, resolve_precision
from anomalyvfm.presets import TrainingSettings

_EPOCHS = 10  # of v1.1


@dataclass(frozen=True)
class Pairs:
    """A step's batch: rows of the normal set and as many of the synthetic set, pair by pair."""

    normal: NDArray[np.int64]
    synthetic: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.normal)


def steps_per_epoch(normal: int, synthetic: int, batch: int) -> int:
    """Steps until every row of the larger set has been seen."""
    return math.ceil(max(normal, synthetic) / (batch // 2))


def epoch_batches(normal: int, synthetic: int, batch: int, seed: int, epoch: int) -> list[Pairs]:
    """The batches of an epoch, each of batch / 2 pairs, every row used before any is used again.

    They depend on nothing but the arguments, so a resumed run goes on with the same ones.
    """
    half = batch // 2
    length = half * steps_per_epoch(normal, synthetic, batch)
    rng = np.random.default_rng([seed, epoch])
    rows, synthetic_rows = (_in_turn(count, length, rng) for count in (normal, synthetic))
    return [
        Pairs(rows[start : start + half], synthetic_rows[start : start + half])
        for start in range(0, length, half)
    ]


def _in_turn(count: int, length: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`length` row numbers: permutations of all `count`, one after another, the last one cut off."""
    turns = [rng.permutation(count) for _ in range(math.ceil(length / count))]
    return np.concatenate(turns)[:length].astype(np.int64)


@dataclass(frozen=True)
class TrainingData:
    """Rows of both kinds, as an adapter takes them: feature vectors, grids of them, or images.

    normal (N, ...) and synthetic (M, ...) of equal trailing shape; memory-mapped tensors will do. In dense
    training `masks` (M, H, W) tells which patches of a synthetic row are defective (1) and which are not (0);
    without it a synthetic row counts as defective as a whole.
    """

    normal: Tensor
    synthetic: Tensor
    masks: Tensor | None = None

    def __post_init__(self) -> None:
        if min(len(self.normal), len(self.synthetic)) < 1:
            raise InputError(
                f"training needs good and synthetic images: there are {len(self.normal)} and"
                f" {len(self.synthetic)}"
            )
        if self.normal.shape[1:] != self.synthetic.shape[1:]:
            raise ValueError(f"rows differ: {tuple(self.normal.shape)}, {tuple(self.synthetic.shape)}")


@dataclass
class Curve:
    """The loss of every step, in order, over all processes."""

    steps_per_epoch: int
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def epochs(self) -> list[float]:
        """The mean loss of each epoch."""
        parts = range(0, len(self.losses), self.steps_per_epoch)
        means = (self.losses[start : start + self.steps_per_epoch] for start in parts)
        return [math.fsum(part) / len(part) for part in means]


class _Trained(nn.Module):
    """What the optimiser sees: adapter and head in a row."""

    def __init__(self, adapter: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.adapter = adapter
        self.head = head

    def forward(self, rows: Tensor) -> Tensor:
        outputs: Tensor = self.head(self.adapter(rows))
        return outputs


def train(
    adapter: nn.Module,
    head: nn.Module,
    data: TrainingData,
    settings: TrainingSettings,
    *,
    seed: int = 0,
    device: str = "cpu",
    checkpoint: Path | None = None,
    track: Callable[[Iterable[int], int, str], Iterable[int]] = lambda items, total, description: items,
) -> Curve:
    """Train both in place, on `device`, and leave them there in evaluation mode.

    The backbone is not called and memory does not grow with epochs. Equal weights, data, settings and seed
    (of the batches and of dropout) give equal results, in one process, in parts, or in several processes that
    `accelerate launch` has started (up to rounding). With `checkpoint`, the state after each epoch is kept in
    that file, and a run that finds one goes on from it. ``track(epochs, total, description)`` wraps the
    epochs to show progress.

    Raises InputError where the loss is not finite, naming the step (the weights are then those before it);
    where a checkpoint is another run's; and for a batch too small to share out.
    """
    started = time.perf_counter()
    processes = Processes(resolve_device(device))
    if settings.batch // 2 < processes.count * settings.parts:
        raise InputError(
            f"a training batch of {settings.batch} cannot be shared by {processes.count} processes in"
            f" {settings.parts} parts each: give at least {2 * processes.count * settings.parts}"
        )
    step = _Step(_Trained(adapter, head), data, settings, seed, processes)
    epochs = _EPOCHS if settings.epochs is None else settings.epochs
    curve = Curve(steps_per_epoch(len(data.normal), len(data.synthetic), settings.batch))
    identity: dict[str, Any] = {}
    if checkpoint:
        run = {**settings.model_dump(), "seed": seed}
        identity = {"settings": run, "adapter": _digest(step.model), "data": _identity(data)}
    done = 0
    if checkpoint and checkpoint.exists():
        state = load_checkpoint(checkpoint, step.model, step.optimizer, identity)
        done, curve.losses, curve.seconds = state["epochs"], state["losses"], state["seconds"]
        step.restore_scale(state["scale"])
        started -= curve.seconds
    step.model.train()
    with cores_for(data.normal, settings.batch, processes.device):
        for epoch in track(range(done, epochs), epochs - done, "training"):
            for pairs in epoch_batches(len(data.normal), len(data.synthetic), settings.batch, seed, epoch):
                curve.losses.append(step.take(pairs, number=len(curve.losses)))
            curve.seconds = time.perf_counter() - started
            if checkpoint and processes.first:
                state = {"identity": identity, "epochs": epoch + 1, "scale": step.scale, **asdict(curve)}
                save_checkpoint(checkpoint, step.model, step.optimizer, state)
    processes.wait()
    step.model.eval()
    return curve


class _Step:
    """One update of the weights."""

    def __init__(
        self,
        model: _Trained,
        data: TrainingData,
        settings: TrainingSettings,
        seed: int,
        processes: Processes,
    ) -> None:
        self.model = model.to(processes.device)
        self.data = data
        self.settings = settings
        self.seed = seed
        self.processes = processes
        # Fused: one pass over weights and moments instead of a dozen, a third of the time.
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self._shared = processes.shared(self.model)
        self._autocast = AUTOCAST_TYPES.get(resolve_precision(settings.precision, processes.device))
        # bf16 has the range of fp32 and needs no scaling.
        fp16 = self._autocast == torch.float16
        self._scaler = torch.amp.GradScaler(processes.device.type, enabled=fp16)

    @property
    def scale(self) -> float:
        """The factor that keeps fp16 gradients from vanishing; 1 in other precisions."""
        return float(self._scaler.get_scale())

    def restore_scale(self, scale: float) -> None:
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(self._scaler.state_dict() | {"scale": scale})

    def take(self, pairs: Pairs, number: int) -> float:
        """Update on a batch and return its loss; InputError, before the update, if it is not finite."""
        self.optimizer.zero_grad(set_to_none=True)
        parts = self._parts(len(pairs))
        loss = torch.zeros((), device=self.processes.device)
        for position, (start, stop) in enumerate(parts):
            begin_batch(self.model, self._seed(number), 2 * start, 2 * stop, 2 * len(pairs))
            with self.processes.only_adding(self._shared, position < len(parts) - 1):
                # A part counts by its size, so that the sum over parts and processes is the batch's mean.
                part = self._loss(pairs, start, stop) * ((stop - start) / len(pairs))
                # The processes' gradients are averaged, not added.
                torch.autograd.backward(self._scaler.scale(part * self.processes.count))
            loss += part.detach()
        value = float(self.processes.sum(loss))
        if not math.isfinite(value):
            raise InputError(
                f"training stopped at step {number + 1}: the loss is {value}; lower the learning rate"
                f" ({self.settings.learning_rate:g}), or look for images with broken features"
            )
        self._scaler.step(self.optimizer)
        self._scaler.update()
        return value

    def _parts(self, pairs: int) -> list[tuple[int, int]]:
        """First and last pair of each part that this process takes."""
        count = self.processes.count * self.settings.parts
        edges = [pairs * part // count for part in range(count + 1)]
        mine = range(
            self.processes.rank * self.settings.parts, (self.processes.rank + 1) * self.settings.parts
        )
        return [(edges[part], edges[part + 1]) for part in mine]

    def _seed(self, number: int) -> int:
        return self.seed * 1_000_003 + number

    def _loss(self, pairs: Pairs, start: int, stop: int) -> Tensor:
        normal, synthetic = (
            torch.from_numpy(pairs.normal[start:stop]),
            torch.from_numpy(pairs.synthetic[start:stop]),
        )
        rows = self._alternating(self.data.normal[normal], self.data.synthetic[synthetic])
        with torch.autocast(
            self.processes.device.type, dtype=self._autocast, enabled=self._autocast is not None
        ):
            outputs = self._shared(rows)
        outputs = outputs.float()  # (2n, ..., 1 or 2)
        logits = outputs[..., 0]
        if self.data.masks is None:
            marked = torch.ones((stop - start, *logits.shape[1:]))
        else:
            marked = self.data.masks[synthetic].float()
        targets = self._alternating(torch.zeros_like(marked), marked)
        if self.settings.loss == "confidence-map":
            return confidence_map_loss(logits, outputs[..., 1], targets).mean()
        return weighted_loss(logits, targets, confidence(logits), self.settings.temperature).mean()

    def _alternating(self, normal: Tensor, synthetic: Tensor) -> Tensor:
        """Rows by turns, normal first: a cut between pairs leaves every part balanced."""
        rows = torch.stack((normal.to(self.processes.device), synthetic.to(self.processes.device)), dim=1)
        # Features may be kept in half precision; images stay the integers a backbone takes.
        return (rows.float() if rows.is_floating_point() else rows).flatten(0, 1)


def _digest(model: nn.Module) -> str:
    """Tells models of other layers, sizes or scales apart: their modules' representations name all that."""
    return hashlib.blake2b(repr(model).encode(), digest_size=12).hexdigest()


def _identity(data: TrainingData) -> dict[str, str]:
    sets = {"normal": data.normal, "synthetic": data.synthetic, "masks": data.masks}
    return {name: fingerprint(rows) for name, rows in sets.items() if rows is not None}
