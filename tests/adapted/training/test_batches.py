"""Which rows make up each step."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.adapted.training.loop import epoch_batches, steps_per_epoch

COUNTS = st.integers(1, 70)


@given(normal=COUNTS, synthetic=COUNTS, half=st.integers(1, 20), seed=st.integers(0, 99))
def test_every_batch_is_full_and_every_row_used_before_any_twice_more(
    normal: int, synthetic: int, half: int, seed: int
) -> None:
    batches = epoch_batches(normal, synthetic, 2 * half, seed, epoch=3)
    assert len(batches) == steps_per_epoch(normal, synthetic, 2 * half)
    assert all(len(batch.normal) == len(batch.synthetic) == half for batch in batches)
    for count, drawn in (
        (normal, Counter(row for batch in batches for row in batch.normal.tolist())),
        (synthetic, Counter(row for batch in batches for row in batch.synthetic.tolist())),
    ):
        assert set(drawn) == set(range(count))
        assert max(drawn.values()) - min(drawn.values()) <= 1


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def rows(seed: int, epoch: int) -> list[int]:
        return [row for batch in epoch_batches(40, 90, 32, seed, epoch) for row in batch.normal.tolist()]

    assert rows(0, 0) == rows(0, 0)
    assert rows(0, 0) != rows(0, 1) != rows(1, 1)
