"""Features on disk: what goes in comes out, in any order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anomalyvfm.errors import InputError
from anomalyvfm.features.backbones.backbone import PatchFeatures
from anomalyvfm.features.store import FeatureStore

CPU = torch.device("cpu")


def batch(count: int, seed: int = 0, scales: tuple[int, ...] = ()) -> PatchFeatures:
    generator = torch.Generator().manual_seed(seed)
    patches = torch.randn(count, 2, 3, *scales, 5, generator=generator)
    return PatchFeatures(patches, torch.randn(count, *scales, 5, generator=generator))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any),
    scales=st.sampled_from([(), (3,)]),
    data=st.data(),
)
def test_rows_come_back_as_they_were_in_any_order(
    sizes: list[int], scales: tuple[int, ...], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = FeatureStore(tmp_path_factory.mktemp("store") / "rows")
    batches = [batch(size, seed, scales) for seed, size in enumerate(sizes)]
    for one in batches:
        store.append(one)
    patches = torch.cat([one.patches for one in batches])
    summaries = torch.cat([one.summary for one in batches])
    assert len(store) == sum(sizes)
    assert torch.equal(store.summaries(), summaries)
    assert torch.equal(store.patches(), patches)
    rows = data.draw(st.lists(st.integers(0, len(store) - 1), min_size=1, max_size=6))
    taken = store.take(rows, CPU)
    assert torch.equal(taken.patches, patches[rows])
    assert torch.equal(taken.summary, summaries[rows])


def test_scales_and_detail_come_back_each_with_its_own(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "rows")
    whole = replace(batch(4), detail=torch.randn(4, 4, 6, 2), coarser=(batch(4, 1),))
    store.append(whole)
    taken, expected = store.take([3, 1], CPU), whole.rows([3, 1])
    assert taken.detail is not None and expected.detail is not None
    assert torch.equal(taken.detail, expected.detail)
    assert len(taken.scales) == 2
    for one, other in zip(taken.scales, expected.scales, strict=True):
        assert torch.equal(one.patches, other.patches) and torch.equal(one.summary, other.summary)


def test_half_precision_halves_the_file_and_keeps_summaries_whole(tmp_path: Path) -> None:
    features = batch(4)
    store = FeatureStore(tmp_path / "rows", torch.float16)
    store.append(features)
    assert (tmp_path / "rows.0").stat().st_size == 2 * features.patches.numel()
    taken = store.take([2, 0], CPU)
    assert taken.patches.dtype == torch.float32
    assert torch.equal(taken.patches, features.patches[[2, 0]].half().float())
    assert torch.equal(taken.summary, features.summary[[2, 0]])


def test_what_was_appended_is_no_longer_held_in_memory(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "rows")
    features = batch(2)
    expected = features.patches.clone()
    store.append(features)
    features.patches.zero_()
    assert torch.equal(store.take([0, 1], CPU).patches, expected)


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(InputError, match=r"cannot be kept .*No space left on device.*set TMPDIR") as raised:
        FeatureStore(tmp_path / "rows").append(batch(1))
    assert "\n" not in str(raised.value)
