"""What `info` says of a model: what stands behind its threshold."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomalyvfm.cli.info import print_model
from anomalyvfm.model_folder import read_description


@pytest.mark.parametrize(
    ("promised", "groups", "said"),
    [
        (True, 120, "(conformal; by 120 good images)"),
        (False, 120, "(an estimate, not promised: too few images; by 120 good images)"),
        (
            False,
            30,
            "(an estimate, not promised: too few groups; by 120 good images in 30 groups of their like)",
        ),
    ],
)
def test_what_stands_behind_a_threshold_is_said(
    promised: bool, groups: int, said: str, fitted_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    description = read_description(fitted_folder)
    description["calibration"] |= {"images": 120, "groups": groups, "promised": promised}
    print_model(fitted_folder, description)
    assert said in capsys.readouterr().out
