"""How long codes in a frame take to be read: everywhere and in a part of it, of all formats and of one.

python benchmarks/barcodes.py
"""

from __future__ import annotations

import time

import numpy as np
from tests.line.codes import with_codes

from anomalyvfm.line.barcodes import read_codes

_SIDE, _REPEATS = 2240, 9
"""As many pixels as a frame of 2448 by 2048."""
_WAYS: dict[str, tuple[tuple[str, ...], tuple[float, float, float, float]]] = {
    "all formats, everywhere": ((), (0, 0, 1, 1)),
    "DataMatrix, everywhere": (("DataMatrix",), (0, 0, 1, 1)),
    "all formats, a quarter": ((), (0, 0, 0.5, 0.5)),
    "DataMatrix, a quarter": (("DataMatrix",), (0, 0, 0.5, 0.5)),
}


def main() -> None:
    noise = np.random.default_rng(0).normal(0, 8, (_SIDE, _SIDE, 3))
    frame = with_codes(("DataMatrix", "A-1041", 300, 400), ("QRCode", "L7", 1500, 1600), side=_SIDE)
    image = np.clip(frame + noise, 0, 255).astype(np.uint8)
    first = 0.0
    for name, (formats, area) in _WAYS.items():
        seconds = []
        for _ in range(_REPEATS):
            began = time.perf_counter()
            codes = read_codes(image, formats, area)
            seconds.append(time.perf_counter() - began)
        low, middle, high = np.quantile(seconds, [0, 0.5, 1])
        first = first or middle
        spread = f"{1000 * low:.0f} to {1000 * high:.0f}"
        print(f"{name}: {1000 * middle:.0f} ms ({spread}, {_REPEATS} times), {middle / first:.2f}: {codes}")


if __name__ == "__main__":
    main()
