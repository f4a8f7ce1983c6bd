"""How images are cut into parts, and in which tree their sums are added up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.cluster.parts import FAN, Node, Tree, parts_of


@given(st.integers(0, 200_000), st.integers(1, 64))
def test_parts_are_all_images_in_order_in_whole_batches(images: int, batch: int) -> None:
    parts = parts_of(images, batch)
    assert [place for part in parts for place in (part.first, part.end)][1:-1:2] == [
        part.first for part in parts[1:]
    ]
    assert sum(part.count for part in parts) == images
    assert [part.number for part in parts] == list(range(len(parts)))
    assert all(part.first % batch == 0 and part.count > 0 for part in parts)
    whole = [part.count for part in parts[:-1]]  # the last may end in a batch that is not
    assert not whole or max(whole) - min(whole) <= batch
    assert not whole or abs(parts[-1].count - max(whole)) < 2 * batch


def test_sums_cost_little_beside_a_part_and_parts_are_enough_for_many_workers() -> None:
    assert [part.count for part in parts_of(5_000, 8)] == [496] + [504, 496] * 4 + [504]
    assert len(parts_of(640, 8)) == 8  # each at least 64
    assert len(parts_of(100, 8)) == 2
    assert len(parts_of(10_000_000, 8)) == 4085  # of 2448 images


@given(st.integers(1, 10_000))
def test_each_part_is_added_up_once_and_in_order(parts: int) -> None:
    tree = Tree(parts)
    assert len(tree.top) <= FAN

    def leaves(node: Node) -> list[int]:
        return [leaf for child in tree.below(node) for leaf in leaves(child)] if node.level else [node.number]

    assert [leaf for node in tree.top for leaf in leaves(node)] == list(range(parts))
    for node in tree.nodes():
        assert len(tree.below(node)) <= FAN
        assert all(tree.above(child) == node for child in tree.below(node))
    assert all(tree.above(node) is None for node in tree.top)
