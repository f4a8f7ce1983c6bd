"""What `info` says of a model: what stands behind its threshold."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalyvfm.cli.info import print_model
from anomalyvfm.model_folder import read_description


@pytest.mark.parametrize(
    ("promised", "images", "groups", "said"),
    [
        (True, 120, 120, "(conformal; by 120 good images)"),
        (False, 25, 25, "(an estimate, not promised: too few images; by 25 good images)"),
        (False, 25, 24, "too few images; by 25 good images in 24 groups of their like)"),
        (False, 120, 30, "too few groups; by 120 good images in 30 groups of their like)"),
    ],
)
def test_what_stands_behind_a_threshold_is_said(
    promised: bool,
    images: int,
    groups: int,
    said: str,
    fitted_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    description = read_description(fitted_folder)
    description["calibration"] |= {"images": images, "groups": groups, "promised": promised}
    print_model(fitted_folder, description)
    assert said in capsys.readouterr().out
