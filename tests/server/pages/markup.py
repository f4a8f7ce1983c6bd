"""A page taken apart: its elements in order, with their attributes."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_EMPTY = {"meta", "link", "img", "input", "br", "hr"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    text: str = ""
    inside: list[str] = field(default_factory=list)
    """Tags around it, outermost first."""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self._around: list[Element] = []
        self.unbalanced: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = Element(
            tag, {name: value or "" for name, value in attrs}, inside=[e.tag for e in self._around]
        )
        self.elements.append(found)
        self.handle_data(found.attributes.get("alt", ""))  # read out like text
        if tag not in _EMPTY:
            self._around.append(found)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if self._around and self._around[-1].tag == tag:
            self._around.pop()
        else:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        for element in self._around:
            element.text += data


def read(html: str) -> list[Element]:
    """Raises AssertionError where an element is not closed, or closed twice."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert not reader.unbalanced, reader.unbalanced
    assert not reader._around, [element.tag for element in reader._around]
    return reader.elements
