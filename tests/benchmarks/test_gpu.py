"""The benchmark for GPUs, where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_says_so() -> None:
    with pytest.raises(SystemExit, match=r"^gpu.py: device 'cuda' is not available on this machine"):
        gpu.main([])


@pytest.mark.slow
def test_its_rows_are_measured_on_any_device(tmp_path: Path) -> None:
    small = "--device cpu --rounds 1 --learned 20 --judged 10 --sides 64,70 --precisions fp32,bf16"
    gpu.main([*small.split(), "--only", "efficientnet-lite0", "--markdown", str(tmp_path / "gpu.md")])
    rows = [line for line in (tmp_path / "gpu.md").read_text(encoding="utf-8").splitlines() if "px" in line]
    assert len(rows) == 8
    assert "fp32" in rows[0] and "bf16" in rows[3] and "change of a score" in rows[6] and "AUROC" in rows[7]
