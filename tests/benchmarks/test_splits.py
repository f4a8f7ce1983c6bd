"""Data sets of the benchmarks: drawn once, whatever was stopped before."""

from pathlib import Path

import pytest

import splits


def test_what_was_left_half_drawn_does_not_stop_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splits, "GENERATED_IMAGES", 2)
    left = tmp_path / "generated-2" / "can.partial" / "can"
    left.mkdir(parents=True)
    category = splits.open_whole("can", cache=tmp_path)
    assert len(category.train) == 2
    assert {sample.condition for sample in category.test} == {"regular"}
    drawn = category.train[0].path.stat().st_mtime_ns
    assert splits.open_whole("can", cache=tmp_path).train[0].path.stat().st_mtime_ns == drawn
    assert [path.name for path in (tmp_path / "generated-2").iterdir() if path.name != "can.partial"] == [
        "can"
    ]
