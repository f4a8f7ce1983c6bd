"""Codes in the picture: what they say, where they are looked for, and what becomes of it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from anomalyvfm.errors import InputError
from anomalyvfm.line import barcodes
from anomalyvfm.line.barcodes import read_codes
from anomalyvfm.line.fields import CodePattern
from anomalyvfm.line.settings import LineSettings
from tests.line.codes import with_codes

pytest.importorskip("zxingcpp")


TWO = (("QRCode", "L7/A-1041", 20, 250), ("DataMatrix", "A-1042", 250, 30))


def test_codes_are_read_from_top_to_bottom() -> None:
    assert read_codes(with_codes(*TWO)) == ["L7/A-1041", "A-1042"]
    assert read_codes(with_codes(*reversed(TWO))) == ["L7/A-1041", "A-1042"]
    assert read_codes(np.rot90(with_codes(*TWO))) == ["L7/A-1041", "A-1042"]
    assert read_codes(with_codes()) == []


def test_only_where_and_what_is_looked_for() -> None:
    assert read_codes(with_codes(*TWO), ["DataMatrix"]) == ["A-1042"]
    assert read_codes(with_codes(*TWO), area=(0.5, 0, 1, 0.5)) == ["L7/A-1041"]
    assert read_codes(with_codes(*TWO), area=(0, 0, 0.5, 0.5)) == []


shares = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


@given(st.integers(1, 40), st.integers(1, 40), shares, shares)
@example(10, 10, [1.0, 1.0], [1.0, 1.0])
def test_any_part_of_any_picture_can_be_looked_at(
    height: int, width: int, across: list[float], down: list[float]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    assert read_codes(image, area=(across[0], down[0], across[1], down[1])) == []


@pytest.mark.parametrize(
    ("pattern", "codes", "fields"),
    [
        ("{serial}", ["A/1 2"], {"serial": "A/1 2"}),
        ("{serial}", [], {}),
        ("{serial}", ["A", "B"], {}),  # which of them?
        ("{serial}", ["A", "A"], {"serial": "A"}),
        ("{lot}/{serial}", ["4006381333931", "L7/A-1041"], {"lot": "L7", "serial": "A-1041"}),
        ("(01)*(21){serial}", ["(01)04012345678901(21)A-1"], {"serial": "A-1"}),
    ],
)
def test_fields_are_read_from_the_one_code_that_is_like_the_pattern(
    pattern: str, codes: list[str], fields: dict[str, str]
) -> None:
    assert CodePattern(pattern).fields(codes) == fields


def test_a_code_says_more_of_a_part_than_its_files_name() -> None:
    tables: dict[str, Any] = {"fields": {"pattern": "{serial}_{lot}"}, "barcode": {"pattern": "{serial}"}}
    rules = LineSettings(tables, "").fields
    noon = datetime(2026, 11, 30, 12)
    assert rules.of(Path("A_L7.png"), noon, ["B\n" + "x" * 200]) == {"serial": "B" + "x" * 99, "lot": "L7"}
    assert rules.of(Path("A_L7.png"), noon) == {"serial": "A", "lot": "L7"}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"pattern": "{colour}"}, r"line\.toml: barcode\.pattern: .* no field 'colour'"),
        ({"formats": ["Runes"]}, r"line\.toml: barcode\.formats: no format 'Runes'; there are QRCode"),
        ({"formats": ["real"]}, "no format 'real'"),
        ({"formats": [""]}, "no format ''"),
        ({"area": [0.5, 0, 0.5, 1]}, r"line\.toml: barcode\.area: .*left, top, right and bottom"),
        ({"area": [0, 0, 2, 1]}, r"line\.toml: barcode\.area"),
        ({"kind": "qr"}, r"barcode\.kind: no such key"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(table: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        LineSettings({"barcode": table}, "line.toml")
    assert "\n" not in str(caught.value)


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(barcodes, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"barcode: needs zxing-cpp; pip install 'anomalyvfm\[barcode\]'"):
        LineSettings({"barcode": {}}, "line.toml")
