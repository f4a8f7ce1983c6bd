from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from performance import with_measured
from performing.bench import Bench
from performing.latency import quantile
from performing.measurements import Measurements, version
from performing.multiply_adds import multiply_adds
from performing.rows import Row, Spread, marginal_rates, ratios, table


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios([10.0, 40.0, 9.0], [5.0, 10.0, 3.0]) == Spread(2.0, 3.0, 4.0)
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


@given(st.floats(0, 60), st.floats(0.5, 500), st.integers(1, 50), st.integers(1, 1000))
def test_the_marginal_rate_leaves_out_what_starting_takes(
    start: float, rate: float, short: int, more: int
) -> None:
    seconds = [start + count / rate for count in (short, short + more)]
    found = marginal_rates(short, [seconds[0]], short + more, [seconds[1]])
    assert found == pytest.approx([rate], rel=1e-6)


def test_the_median_is_judged_against_the_target_on_its_own_side() -> None:
    spread = Spread(1.0, 6.0, 9.0)
    assert Row("speed", spread, "×", 6.0).met is True
    assert Row("speed", spread, "×", 6.1).met is False
    assert Row("memory", spread, "MB", 5.9, least=False).met is False
    assert Row("anything", spread).met is None


def test_a_lower_bound_meets_a_target_or_says_nothing() -> None:
    assert Row("cut off", Spread(50.0, 60.0, 70.0), "×", 50.0, bound=True).met is True
    early = Row("cut off", Spread(8.0, 9.0, 10.0), "×", 50.0, bound=True)
    assert early.met is None
    assert table([early]).endswith("| cut off | ≥ 9.00 (8.00 to 10.0) × | ≥ 50.0 × | not known |")


def test_a_row_says_target_spread_and_whether_it_was_met() -> None:
    lines = table(
        [
            Row("slow", Spread(1.0, 2.0, 3.0), "×", 6.0, note="one run"),
            Row("small", Spread(840.0, 840.0, 840.0), "MB", 1000.0, least=False),
            Row("rate", Spread(0.01234, 0.01234, 0.01234)),
        ]
    ).splitlines()
    assert lines[2] == "| slow; one run | 2.00 (1.00 to 3.00) × | ≥ 6.00 × | **no** |"
    assert lines[3] == "| small | 840 MB | ≤ 1000 MB | yes |"
    assert lines[4] == "| rate | 0.012 |  |  |"


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=300), st.integers(1, 100))
def test_a_quantile_is_the_smallest_value_not_exceeded_by_its_share(
    values: list[float], percent: int
) -> None:
    found = quantile(sorted(values), percent / 100)
    assert found in values
    assert 100 * sum(value <= found for value in values) >= percent * len(values)
    assert 100 * sum(value < found for value in values) < percent * len(values)


def test_multiply_adds_are_those_of_one_image() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.Linear(8 * 36, 5)
    )
    by_hand = 64 * 8 * 27 + 36 * 8 * 9 + 8 * 36 * 5
    assert multiply_adds(network, lambda: network(torch.zeros(1, 3, 8, 8))) == by_hand
    assert multiply_adds(network, lambda: network(torch.zeros(4, 3, 8, 8))) == by_hand


def test_images_are_repeated_where_more_are_asked_for_than_there_are(tmp_path: Path) -> None:
    for folder, names in {"train/good": "abc", "test_public/good": "de", "test_public/bad": "fghi"}.items():
        place = tmp_path / "data" / folder
        place.mkdir(parents=True)
        for name in names:
            (place / f"{name}.png").write_text(name)
    bench = Bench(tmp_path / "data", tmp_path / "work", Measurements(tmp_path / "kept"), 1, (2, 9), 5)
    assert [path.read_text() for path in sorted(bench.to_learn().iterdir())] == list("abcab")
    assert [path.read_text() for path in sorted(bench.to_judge(9).iterdir())] == list("dfeghidfe")


def counting(tmp_path: Path, rounds: int) -> tuple[Bench, Callable[[], list[str]]]:
    """A bench, and a command that tells in a file how often it was run."""
    file = tmp_path / "times"
    file.touch()
    (tmp_path / "work").mkdir(exist_ok=True)
    measurements = Measurements(tmp_path / "kept.jsonl")
    bench = Bench(tmp_path, tmp_path / "work", measurements, rounds, (2, 9), 5)
    count = "import sys; open(sys.argv[1], 'a').write('x'); print('{\"a\": 1}')"
    return bench, lambda: [sys.executable, "-c", count, str(file)]


def times(tmp_path: Path) -> int:
    return len((tmp_path / "times").read_text())


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    def measure(rounds: int) -> list[float]:
        bench, command = counting(tmp_path, rounds)
        seconds = [bench.run("speed", "one", command).wall_s for _ in bench.in_turn("speed")]
        assert bench.run_for_json("speed", "alone", command) == {"a": 1}
        return seconds

    first = measure(2)
    assert times(tmp_path) == 3
    again = measure(3)
    assert times(tmp_path) == 4
    assert again[:2] == first


def test_a_round_that_was_cut_off_is_measured_anew_and_loses_no_line(tmp_path: Path) -> None:
    bench, command = counting(tmp_path, 2)
    for number in bench.in_turn("speed"):
        bench.run("speed", "one", command)
        if number == 1:
            break
    kept = tmp_path / "kept.jsonl"
    with kept.open("a") as stream:
        stream.write('{"section": "speed", "rou')  # killed while it wrote
    before = kept.read_text()
    bench, command = counting(tmp_path, 2)
    for _ in bench.in_turn("speed"):
        bench.run("speed", "one", command)
        bench.run("speed", "other", command)
    # Of round 0 the one was there; of round 1, which had not ended, nothing counted.
    assert times(tmp_path) == 2 + 3
    assert kept.read_text().startswith(before)
    measured = [line["round"] for line in map(json.loads, kept.read_text().splitlines()[-3:-1])]
    assert measured == [1, 1]


def test_what_is_made_is_made_once_and_a_failure_leaves_nothing_kept(tmp_path: Path) -> None:
    bench, command = counting(tmp_path, 1)
    for _ in range(2):
        bench.make(tmp_path / "times", command())
    assert times(tmp_path) == 0
    bench.make(tmp_path / "missing", command())
    assert times(tmp_path) == 1
    with pytest.raises(SystemExit, match="no such planet"):
        bench.run("speed", "bad", lambda: [sys.executable, "-c", "raise ValueError('no such planet')"])
    assert not (tmp_path / "kept.jsonl").exists()


def test_measurements_are_named_after_code_and_conditions(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    names = {version([tmp_path / "a.py"], {"cores": 2}), version([tmp_path / "a.py"], {"cores": 4})}
    (tmp_path / "a.py").write_text("2")
    names.add(version([tmp_path / "a.py"], {"cores": 2}))
    assert len(names) == 3


def test_the_page_keeps_everything_but_the_old_table() -> None:
    page = "# Speed\n\n<!-- measured -->\nold\n<!-- end of measured -->\n\nMore.\n"
    new = with_measured(page, "Two cores.", "fit", "| new |")
    begin, end = "# Speed\n\n<!-- measured -->\n\n", "<!-- end of measured -->\n\nMore.\n"
    assert new == f"{begin}Two cores.\n\n### fit\n\n| new |\n\n{end}"
    assert with_measured(new, "Two cores.", "fit", "| new |") == new
    both = with_measured(new, "Four cores.", "predict", "| one |\n\nmore")
    assert both == f"{begin}Four cores.\n\n### predict\n\n| one |\n\nmore\n\n### fit\n\n| new |\n\n{end}"
    with pytest.raises(SystemExit, match="no <!-- measured -->"):
        with_measured("# Speed\n", "Two cores.", "fit", "| new |")
