"""report.html: self-contained, escaped, accessible, complete."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from anomalyvfm.evaluation.reports import page
from anomalyvfm.evaluation.reports.page import most_interesting, outcome, render_page
from tests.evaluation.reports.reports import AGAINST, THRESHOLD, typical

_VOID = {"meta", "img", "input", "br", "link"}


class Parsed(HTMLParser):
    """Tags with their attributes, and the tags that were open around each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None], tuple[str, ...]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs), tuple(self.open)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def of(self, *names: str) -> list[tuple[str, dict[str, str | None], tuple[str, ...]]]:
        return [tag for tag in self.tags if tag[0] in names]


@pytest.fixture
def html(tmp_path: Path) -> str:
    conditions = ["regular", "overexposed"] * 8
    kinds = ["scratch", "<dent>"] * 8
    report = typical(tmp_path, conditions=conditions, kinds=kinds, skipped=["x/<y>.png: damaged"])
    return render_page(report, "plain & simple", {})


def test_tags_close_in_order_and_nothing_is_left_to_substitute(html: str) -> None:
    assert Parsed(html).open == []
    assert "$" not in html.replace("\\$", "")


def test_nothing_is_loaded_from_anywhere(html: str) -> None:
    parsed = Parsed(html)
    for _, attributes, _ in parsed.tags:
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    assert not parsed.of("link", "iframe", "object", "embed", "base")
    assert "url(" not in html
    assert "@import" not in html
    policy = next(a["content"] for _, a, _ in parsed.of("meta") if "http-equiv" in a)
    assert policy is not None
    assert "default-src 'none'" in policy


def test_text_from_data_is_escaped(html: str) -> None:
    assert "<dent>" not in html
    assert "&lt;dent&gt;" in html
    assert "x/&lt;y&gt;.png: damaged" in html
    assert "plain &amp; simple" in html


def test_tables_images_and_fields_are_labelled(html: str) -> None:
    parsed = Parsed(html)
    assert all(attributes.get("scope") in ("row", "col") for _, attributes, _ in parsed.of("th"))
    assert all("alt" in attributes for _, attributes, _ in parsed.of("img"))
    assert all("label" in around for _, _, around in parsed.of("input", "select"))
    buttons = [attributes for _, attributes, _ in parsed.of("button") if attributes.get("class") == "thumb"]
    assert all((attributes.get("aria-label") or "").startswith("Enlarge ") for attributes in buttons)
    anchors = {(attributes["href"] or "")[1:] for _, attributes, _ in parsed.of("a")}
    ids = [attributes["id"] for _, attributes, _ in parsed.tags if "id" in attributes]
    assert anchors <= set(ids)
    assert len(ids) == len(set(ids))


def test_every_image_has_a_row_with_its_overlay(html: str) -> None:
    rows = [a for tag, a, _ in Parsed(html).tags if tag == "tr" and "data-outcome" in a]
    assert [row["data-outcome"] for row in rows] == (
        ["passed"] * 7 + ["false alarm"] + ["missed"] * 2 + ["found"] * 6
    )
    assert html.count('class="thumb"') == 16


def test_columns_without_content_are_left_out(tmp_path: Path, html: str) -> None:
    assert '<button type="button">condition</button>' in html
    assert '<button type="button">kind</button>' in html
    bare = render_page(typical(tmp_path), "", {})
    assert '<button type="button">condition</button>' not in bare
    assert '<button type="button">kind</button>' not in bare


def test_beyond_a_number_of_images_the_dullest_have_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "MOST_THUMBNAILS", 4)
    report = typical(tmp_path)
    text = render_page(report, "", {})
    assert text.count('class="thumb"') == 4
    assert "12 of 16 rows are without a picture" in text
    kept = most_interesting(report.images, 4, THRESHOLD)
    # The false alarm and the two missed defects, then the good image closest to the threshold.
    assert [(outcome(report.images[i]), report.images[i].verdict.score) for i in sorted(kept)] == [
        ("passed", 2.1),
        ("false alarm", 3.0),
        ("missed", 1.0),
        ("missed", 2.0),
    ]


def test_a_group_that_is_the_whole_test_set_is_not_repeated(tmp_path: Path) -> None:
    assert "By kind of defect" not in render_page(typical(tmp_path), "", {})


def test_conditions_show_their_pixel_metrics(tmp_path: Path) -> None:
    report = typical(tmp_path, conditions=["regular", "overexposed"] * 8)
    report.metrics["by_condition"]["regular"] |= {"aupro_0.05": 0.4321}
    report.metrics["by_condition"]["overexposed"] |= {"aupro_0.05": 0.1234}
    text = render_page(report, "", {})
    assert "0.4321" in text
    assert "0.1234" in text


def test_reasons_stand_beside_the_images_that_have_them(tmp_path: Path) -> None:
    report = typical(tmp_path)
    images = list(report.images)
    told = "parts (layer 5) 70%; <good>.png, distance 0.50"
    images[-1] = replace(images[-1], exhibit=images[-1].thumbnail, reason=told)
    text = render_page(replace(report, images=images), "", {})
    assert Parsed(text).open == []
    assert text.count('class="why"') == 1
    assert "parts (layer 5) 70%; &lt;good&gt;.png, distance 0.50" in text
    rows = [row.split("</tr>")[0] for row in text.split("<tr data-outcome")[1:]]
    assert len({row.count("<td") + row.count("<th") for row in rows}) == 1  # one cell a column in each
    assert all(row.count("<td") + row.count("<th") == 8 for row in rows)


def test_differences_to_another_model_have_a_table(tmp_path: Path) -> None:
    html = render_page(typical(tmp_path, against=AGAINST), "summary", {})
    table = html.split("<caption>Against models/&lt;other&gt;</caption>")[1].split("</table>")[0]
    assert table.count("<tr>") == 3 and table.count(">noise<") == 1 and "+0.3000" in table
