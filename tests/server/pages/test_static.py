"""Styles and scripts: served by name alone, complete, and readable in both themes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from anomalyvfm.server.pages.rendering import StaticFile, static_files, static_url
from tests.server.pages.conftest import Open
from tests.server.pages.fake_station import FakeStation

TEXT_ON = [
    (text, ground)
    for ground in ("--page", "--card", "--soft")
    for text in ("--ink", "--muted", "--link", "--good", "--bad")
] + [
    ("--good", "--good-soft"),
    ("--bad", "--bad-soft"),
    ("--wait", "--wait-soft"),
    ("--ink", "--bad-soft"),
    ("--ink", "--good-soft"),
    ("--muted", "--good-soft"),
    ("--on-link", "--link"),
    ("--bar-ink", "--bar"),
    ("--bar-muted", "--bar"),
    ("--bar-ink", "--bar-on"),
]


def test_files_come_with_their_type_and_may_be_kept_for_ever(open_pages: Open) -> None:
    client = open_pages(FakeStation(), None)
    for name, kind in (
        ("base.css", "text/css"),
        ("page.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    ):
        answer = client.get(static_url(name))
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize(
    "name", ["none.js", "..%2Froutes.py", "%2e%2e/__init__.py", "%2Fetc%2Fpasswd", "base.css%00"]
)
def test_no_name_reaches_another_file(name: str, open_pages: Open) -> None:
    assert open_pages(FakeStation()).get(f"/static/{name}").status_code == 404


def test_nothing_is_loaded_from_elsewhere() -> None:
    for name, file in _files().items():
        text = file.content.decode().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?:|@import|url\(['\"]?(?!#)", text), name


def test_scripts_import_versioned_helpers_that_exist() -> None:
    for name, file in _files().items():
        for imported in re.findall(r'(?:from|import) "([^"]+)"', file.content.decode()):
            # The very URL of the page: under another, the browser would run the script twice.
            assert imported.replace("./", "/static/") == static_url(imported[2 : imported.index("?")]), name


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_scripts_have_no_syntax_error(tmp_path: Path) -> None:
    for name, file in _files().items():
        if name.endswith(".js"):
            module = tmp_path / name.replace(".js", ".mjs")
            module.write_bytes(file.content)
            subprocess.run(["node", "--check", module], check=True, capture_output=True)


def _files() -> dict[str, StaticFile]:
    return static_files()[1]


def _themes() -> dict[str, dict[str, str]]:
    css = _files()["base.css"].content.decode()
    blocks = re.findall(r"(:root[^{]*)\{([^}]*)\}", css)
    return {
        selector.strip(): dict(re.findall(r"(--[\w-]+):\s*(#[0-9a-f]{6})", body)) for selector, body in blocks
    }


def test_dark_is_the_same_by_choice_and_by_system() -> None:
    themes = _themes()
    assert themes[':root[data-theme="dark"]'] == themes[':root:not([data-theme="light"])']
    assert themes[":root"].keys() == themes[':root[data-theme="dark"]'].keys()


@pytest.mark.parametrize("theme", [":root", ':root[data-theme="dark"]'])
def test_text_contrasts_with_what_it_stands_on(theme: str) -> None:
    """WCAG 2.2, criterion 1.4.3: at least 4.5 : 1."""
    colours = _themes()[theme]
    for text, ground in TEXT_ON:
        assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)


def _contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
