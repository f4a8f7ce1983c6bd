"""Each language says everything, says it in the places the English has, and writes numbers its own way."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.support import NullTranslations
from hypothesis import given
from hypothesis import strategies as st

from anomalyvfm.server.pages import language
from anomalyvfm.server.pages.rendering import static_files
from anomalyvfm.server.pages.wording import one_in, percent, problems, score
from anomalyvfm.server.problems import _TITLES
from tests.server.pages.conftest import Open
from tests.server.pages.fake_station import FakeStation
from tests.server.pages.test_pages import PAGES, many

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[3]
OTHERS = [code for code in language.LANGUAGES if code != "en"]


@pytest.fixture(autouse=True)
def english_again() -> Iterator[None]:
    yield
    language.speak("", "")


def texts_of_the_pages() -> Catalog:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    methods, options = [], {}
    for each in project["tool"]["babel"]["mappings"]:
        methods.append((each["pattern"], each["method"]))
        options[each["pattern"]] = {key: each[key] for key in each if key not in ("pattern", "method")}
    catalog = Catalog()
    pages = ROOT / "src/anomalyvfm/server/pages"
    for file, _, text, _, context in extract_from_dir(pages, methods, options):
        catalog.add(text, None, [(file, 0)], context=context)
    return catalog


def ids(catalog: Catalog) -> set[object]:
    return {message.id for message in catalog if message.id}


@pytest.mark.parametrize("code", OTHERS)
def test_a_language_has_every_text_and_no_other(code: str) -> None:
    wanted, there = ids(texts_of_the_pages()), ids(language._catalog(code))
    assert not wanted - there, "not in the file: make words"
    assert not there - wanted, "in no page any more: make words"


def test_every_problem_has_a_heading_in_the_words_of_the_page() -> None:
    assert {status: text.lower() for status, text in problems().items()} == _TITLES


def placeholders(text: str) -> list[str]:
    return sorted(set(re.findall(r"%\(\w+\)s|\{\w+\}|</?\w+[^>]*>", text)))


@pytest.mark.parametrize("code", OTHERS)
def test_every_text_is_translated_with_its_placeholders_and_elements(code: str) -> None:
    catalog = language._catalog(code)
    for message in catalog:
        if not message.id:
            continue
        assert not message.fuzzy, message.id
        for said in forms(message, catalog.num_plurals):
            assert said.strip() or not str(message.id).strip(), f"{message.id}: empty in {code}.po"
            english = message.id if isinstance(message.id, str) else message.id[1]
            assert placeholders(said) == placeholders(english), message.id


def forms(message: Message, plurals: int) -> tuple[str, ...]:
    if isinstance(message.id, str):
        return (str(message.string),)
    assert isinstance(message.string, tuple) and len(message.string) == plurals, message.id
    return message.string


@pytest.mark.parametrize("code", OTHERS)
def test_scripts_get_their_texts_and_no_others(code: str) -> None:
    words = language.script_words(code)
    scripts = "".join(
        file.content.decode() for name, file in static_files()[1].items() if name.endswith(".js")
    )
    asked = set(re.findall(r'\b_\("([^"]+)"', scripts))
    assert asked == set(words)


@pytest.mark.parametrize(
    ("chosen", "accepted", "tag"),
    [
        ("", "", "en-GB"),
        ("", "en-US,en;q=0.9,de;q=0.8", "en-US"),
        ("", "fr-FR,fr;q=0.9,de-CH;q=0.8,en;q=0.7", "de-CH"),
        ("", "en;q=0.5, ja;q=0.9", "ja-JP"),
        ("", "de;q=0, en", "en-GB"),
        ("de", "ja", "de-DE"),
        ("de", "en-US,de-AT;q=0.1", "de-AT"),
        ("tlh", "ja-JP", "ja-JP"),
        ("", "de-ZZ", "de-DE"),
        ("", "DE-ch", "de-CH"),
        ("", "fr", "en-GB"),
        ("../../etc", "de-../..", "en-GB"),
        ("", "de" * 50000, "en-GB"),
    ],
)
def test_the_chosen_language_comes_first_then_the_browsers(chosen: str, accepted: str, tag: str) -> None:
    language.speak(chosen, accepted)
    assert language.tag() == tag


@given(st.text(), st.text())
def test_no_header_or_cookie_is_an_error(chosen: str, accepted: str) -> None:
    language.speak(chosen, accepted)
    assert language.locale().language in language.LANGUAGES


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("en-GB", ("1,234,567", "−1234.50", "1.4%", "1 in 1,000", "23 Nov 2026, 14:05:09 UTC")),
        ("en-US", ("1,234,567", "−1234.50", "1.4%", "1 in 1,000", "Nov 23, 2026, 2:05:09\u202fPM UTC")),
        ("de-DE", ("1.234.567", "−1234,50", "1,4\u00a0%", "1 von 1.000", "23.11.2026, 14:05:09 UTC")),
        ("ja-JP", ("1,234,567", "−1234.50", "1.4%", "1,000個に1個", "2026/11/23 14:05:09 UTC")),
    ],
)
def test_numbers_and_times_are_written_as_the_country_does(code: str, said: tuple[str, ...]) -> None:
    language.speak("", code)
    written = (language.number(1234567), score(-1234.5), percent(0.0142), one_in(0.001))
    assert (*written, language.moment("2026-11-23T14:05:09Z")) == said


def test_a_page_is_in_the_language_of_the_browser_or_of_the_choice(open_pages: Open) -> None:
    client = open_pages(many())
    german = client.get("/wall", headers={"accept-language": "de"}).text
    assert '<html lang="de-DE"' in german and "Abgelehnt" in german and "Rejected" not in words_of(german)
    client.cookies.set("language", "ja")
    japanese = client.get("/wall", headers={"accept-language": "de"}).text
    assert '<html lang="ja-JP"' in japanese and "不合格" in japanese
    missing = client.get("/inspections/999").text
    assert "見つかりません" in missing


@pytest.mark.parametrize(
    "path", [*PAGES, "/inspections/10", "/inspections/999", "/audit", "/users", "/login"]
)
@pytest.mark.parametrize("state", [many, FakeStation, lambda: FakeStation([], [])])
def test_no_text_of_a_page_is_left_in_english(
    path: str, state: type[FakeStation], open_pages: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every text put in brackets by a language of its own: what stands outside them nobody can translate."""
    from anomalyvfm.server.auth.guard import User

    monkeypatch.setattr(language, "_translations", lambda code: Brackets())
    answer = open_pages(state(), User("Zz", "admin", "token")).get(path)
    for text in words_of(answer.text).splitlines():
        while (outside := re.sub(r"⟦[^⟦⟧]*⟧", "", text)) != text:  # one text may be inside another
            text = outside
        left = set(re.findall(r"[A-Za-z]{2,}", text)) - NAMES
        assert not left, f"{path}: {text.strip()}"


# Names, units, what people and the station wrote into the log, and the details of faults.
NAMES = set(
    [
        *("mes", "broker", "mqtt", "https", "example", "hook", "plant"),
        *("top", "rtsp", "lots", "mnt", "png"),
        "AnomalyVFM",
        "English",
        "Deutsch",
        "JSON",
        "OpenAPI",
        "CSV",
        "Parquet",
        "ms",
        "px",
        "UTC",
        "Nov",
        "Jan",
        "learn",
        "model",
        "part",
        "png",
        "can",
        "vial",
        "Zz",
        "ada",
        "camera",
        "efficientnet",
        "lite",
        "false",
        "alarm",
        "inspection",
        "here",
        "not",
        "serve",
        "MODEL",
        "anomalyvfm",
        "PIN",
    ]
)


class Brackets(NullTranslations):
    """A language that says the English in brackets."""

    def gettext(self, message: str) -> str:
        return f"⟦{message}⟧"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return f"⟦{msgid1 if n == 1 else msgid2}⟧"


class _Words(HTMLParser):
    """Texts, and attributes that are read out; nested brackets stay on one line."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = []
        self.hidden = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden = tag in ("script", "code", "kbd")
        spoken = ("aria-label", "alt", "placeholder", "title", "aria-valuetext", "data-text")
        self.lines += ["\n" + (value or "") + "\n" for name, value in attrs if name in spoken]

    def handle_endtag(self, tag: str) -> None:
        self.hidden = False

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.lines.append(data.replace("\n", " ") + " ")


def words_of(html: str) -> str:
    reader = _Words()
    reader.feed(html)
    return "".join(reader.lines)


def test_no_text_of_a_script_is_left_in_english() -> None:
    for name, file in static_files()[1].items():
        if name.endswith(".js"):
            code = re.sub(r"^\s*//.*$|/\*.*?\*/", "", file.content.decode(), flags=re.MULTILINE | re.DOTALL)
            texts = re.findall(r'(?<!_\()"([A-Z][a-z]+(?: [^"]*)?)"', code)
            assert set(texts) <= {"Accept", "Escape"}, name
