"""The check of the docs itself: what it takes for the same, and what it must not miss."""

from __future__ import annotations

import pytest

from tests.docs.transcripts import Step, alike, files, missing, steps

PAGE = """# Page

```
not run
```

```console
$ first --option \\
    rest
2 of 3 images → out
$ second
```

<!-- needs: tiles -->
```console
$ third
score 0.123
```
"""


def test_steps_are_read_in_order_with_their_lines() -> None:
    assert list(steps(PAGE)) == [
        Step("first --option \\\n    rest", ("2 of 3 images → out",), None, 8),
        Step("second", (), None, 11),
        Step("third", ("score 0.123",), "tiles", 16),
    ]


def test_files_are_those_with_a_name() -> None:
    page = "```python\n# one.py\nprint(1)\n```\n\n```python\nprint(2)\n```\n"
    assert files(page) == {"one.py": "print(1)\n"}


@pytest.mark.parametrize(
    ("said", "printed"),
    [
        ("51 of 60 images", "51 of 60 images"),
        ("learned 40 images in 11.2 s", "note: one\nlearned    40 images in 3.8 s\n"),
        ("score differs by at most 6.7e-06", "score differs by at most 1.9e-06"),
        ('{"score": 5.075,\n "area": 14, "ms": 29.06}', '{"score": 5.08, "area": 14, "ms": 310.5}'),
        ("by at most 0.0005, map by 2", "by at most 0.00009, map by 3"),
        ("onnx in fp32, 54 MB → exported", "onnx in fp32, 55 MB → exported"),
        ("one\n…\nthree", "one\ntwo\nthree"),
        ("weights d975a9b185f9", "weights d975a9b185f9"),
    ],
)
def test_what_is_the_same(said: str, printed: str) -> None:
    assert not missing(Step("", tuple(said.splitlines()), None, 1), printed)


@pytest.mark.parametrize(
    ("said", "printed"),
    [
        ("51 of 60 images", "52 of 60 images"),
        ("51 of 60 images", "51 of 60 pictures"),
        ("image AUROC 0.964", "image AUROC 0.9"),
        ("differs by at most 6.7e-06", "differs by at most 6.8e-05"),
        ("one\nthree", "three\none"),
        ("1 of 60", "51 of 60"),
        ("weights d975a9b185f9", "weights d975a9b185f8"),
        ("score −1.5", "score 1.5"),
    ],
)
def test_what_is_not_the_same(said: str, printed: str) -> None:
    lacking = missing(Step("", tuple(said.splitlines()), None, 1), printed)
    assert len(lacking) == 1


def test_a_later_number_that_fits_is_found_beyond_one_that_does_not() -> None:
    assert not missing(Step("", ("score 2.0",), None, 1), "score 1.0 score 2.0")


def test_numbers_of_another_sign_or_size_are_not_alike() -> None:
    assert alike("1.02", "1.00")
    assert not alike("1.10", "1.00")
    assert not alike("-1.00", "1.00")
    assert alike("−1.00", "-1.00")
