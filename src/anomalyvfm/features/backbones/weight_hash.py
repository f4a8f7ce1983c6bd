"""One number for a set of weights: what tells a model file that its backbone is the one it was fitted on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


def hash_weights(names: Iterable[str], tensor: Callable[[str], Tensor]) -> str:
    """sha256 (hex) over name, type, shape and bytes of each tensor, in sorted order of the names.

    `tensor` fetches one by name, so weights larger than memory can be read as they are hashed. Each tensor
    gets a digest of its own and the digests are hashed together: that way all cores take part.
    """

    def line(name: str) -> str:
        value = tensor(name)
        data = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
        return f"{name} {value.dtype} {tuple(value.shape)} {hashlib.sha256(data.data).hexdigest()}\n"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        lines = pool.map(line, sorted(names))
        return hashlib.sha256("".join(lines).encode()).hexdigest()
