"""One process, or several that accelerate has started, each with a share of every batch and its cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from anomalyvfm.errors import InputError
from anomalyvfm.features.core_threads import one_core


class Processes:
    """This process among those that train together: its rank, their count, its device."""

    def __init__(self, device: str | torch.device) -> None:
        self.rank, self.count = 0, 1
        self.device = torch.device(device)
        self._accelerator: Any = None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            self._join()

    def _join(self) -> None:
        try:
            from accelerate import Accelerator
        except ImportError:
            raise InputError(
                "training in several processes needs accelerate, which is not installed:"
                " pip install 'anomalyvfm[train]'"
            ) from None
        # Mixed precision is the loop's own business, the same for one process and for several.
        self._accelerator = Accelerator(cpu=self.device.type == "cpu", mixed_precision="no")
        self.rank, self.count = self._accelerator.process_index, self._accelerator.num_processes
        self.device = self._accelerator.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def shared(self, model: nn.Module) -> nn.Module:
        """The model such that gradients are averaged over the processes."""
        if self._accelerator is None:
            return model
        wrapped: nn.Module = self._accelerator.prepare_model(model)
        return wrapped

    def only_adding(self, model: nn.Module, more_to_come: bool) -> AbstractContextManager[Any]:
        """Where more parts of a batch follow, gradients are added up here and averaged after the last."""
        if self._accelerator is None or not more_to_come:
            return nullcontext()
        scope: AbstractContextManager[Any] = self._accelerator.no_sync(model)
        return scope

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a value over the processes."""
        if self._accelerator is None:
            return value
        total: Tensor = self._accelerator.reduce(value, reduction="sum")
        return total

    def wait(self) -> None:
        """Until all processes are here."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()


# Up to this many vectors a step, a layer takes well under a millisecond on one core.
_FEW_VECTORS = 1024


@contextmanager
def cores_for(rows: Tensor, batch: int, device: torch.device) -> Iterator[None]:
    """One core while a step on a CPU is small, else torch's own number.

    Threads wait for one another at the end of every layer, spinning. Where another process wants a core,
    each such wait can cost a slice of the scheduler: measured on two busy cores, ten epochs of v1.1 on
    vectors took 35 s with two threads and 0.3 s with one.
    """
    vectors = batch * rows[0].numel() // rows.shape[-1]
    if device.type != "cpu" or vectors > _FEW_VECTORS:
        yield
        return
    with one_core():
        yield
