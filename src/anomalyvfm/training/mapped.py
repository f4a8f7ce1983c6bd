"""Feature sets larger than memory."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from anomalyvfm.errors import InputError


def mapped_rows(path: Path, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """A writable tensor of that shape that lives in a file, made or grown where needed.

    Written and read like any other; what is not in use need not be in memory. Raises InputError where the
    file cannot be made.
    """
    size = 1
    for side in shape:
        size *= side
    try:
        return torch.from_file(str(path), shared=True, size=size, dtype=dtype).reshape(shape)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: {size * dtype.itemsize} bytes cannot be set aside ({reason})") from None
