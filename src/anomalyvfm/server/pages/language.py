"""The language of a page, and how it writes numbers and times: what a person chose, or the browser asks for.

Templates, scripts and code hold the English text; ``languages/*.po`` say it in others. ``make words`` finds
new texts. Which language is spoken is known for the length of a request, so that nothing hands it around.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from datetime import datetime, timezone
from functools import cache, lru_cache
from importlib.resources import files
from io import BytesIO

from babel import Locale, UnknownLocaleError
from babel.dates import format_datetime, format_skeleton
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent
from babel.support import NullTranslations, Translations

LANGUAGES = {"en": "English", "de": "Deutsch", "ja": "日本語"}
"""By code, each as those who speak it call it."""
# How each writes numbers and times where the browser names no country; English with the day before the month.
_COUNTRIES = {"en": "en_GB", "de": "de_DE", "ja": "ja_JP"}
_MOST_ASKED = 20

_spoken: ContextVar[str] = ContextVar("spoken", default=_COUNTRIES["en"])


def speak(chosen: str, accepted: str) -> None:
    """From here on in this request: the language a person chose, or the first of the browser's that we have.

    ``chosen`` is a code of ``LANGUAGES``, or anything else for none; ``accepted`` an Accept-Language header.
    The country, which decides how numbers are written, is the browser's where it is of that language.
    """
    fitting = [tag for tag in _asked(accepted) if tag[:2] in LANGUAGES]
    if chosen in LANGUAGES:
        fitting = [tag for tag in fitting if tag[:2] == chosen] or [chosen]
    tag = fitting[0] if fitting else "en"
    known = _known(tag.replace("-", "_")) if "-" in tag else None
    _spoken.set(str(known) if known else _COUNTRIES[tag[:2]])


def locale() -> Locale:
    found = _known(_spoken.get())
    assert found is not None  # speak() has made sure
    return found


def tag() -> str:
    """As HTML and scripts name it: ``de-DE``."""
    return _spoken.get().replace("_", "-")


def gettext(text: str) -> str:
    """A text in the language spoken; in English where it was not translated."""
    return _translations(locale().language).gettext(text)


def ngettext(one: str, many: str, number: int) -> str:
    """Likewise by number, since languages differ in which numbers are alike."""
    return _translations(locale().language).ngettext(one, many, number)


_ = gettext


def N_(text: str) -> str:
    """Marks a text that is translated where it is used."""
    return text


@cache
def script_words(language: str) -> dict[str, str]:
    """What scripts say in a language: those texts whose place is a script."""
    return {
        str(message.id): str(message.string)
        for message in (_catalog(language) if language != "en" else ())
        if any(place.endswith(".js") for place, _ in message.locations)
    }


def number(value: float, digits: int = 0, grouped: bool = True, trimmed: bool = False) -> str:
    """With this many digits after the point, or without zeros at its end; a real minus sign, no hyphen."""
    form = _with_digits(locale().decimal_formats[None].pattern, digits, trimmed)
    return format_decimal(value, form, locale(), group_separator=grouped).replace("-", "−")


def percentage(value: float, digits: int = 0, trimmed: bool = False) -> str:
    """As percent, likewise."""
    form = _with_digits(locale().percent_formats[None].pattern, digits, trimmed)
    return format_percent(value, form, locale())


def clock(at: datetime) -> str:
    return format_skeleton("Hm", at, locale=locale())


def day(at: datetime) -> str:
    return format_skeleton("MMMd", at, locale=locale())


def moment(iso: str) -> str:
    """A time of an ISO 8601 text, in UTC, which it says; the page's script makes it that of the site."""
    at = datetime.fromisoformat(iso.replace("Z", "+00:00"))
    at = at.replace(tzinfo=timezone.utc) if at.tzinfo is None else at.astimezone(timezone.utc)
    return f"{format_datetime(at, 'medium', locale=locale())} UTC"


def _with_digits(pattern: str, digits: int, trimmed: bool) -> str:
    """A pattern as ``#,##0.###`` with as many digits after the point as asked for."""
    behind = ("#" if trimmed else "0") * digits
    return re.sub(r"0(\.[0#]+)?", "0" + ("." + behind if digits else ""), pattern, count=1)


def _asked(accepted: str) -> list[str]:
    """The tags of an Accept-Language header, the most wanted first; what cannot be read is left out."""
    tags: list[tuple[float, str]] = []
    for one in accepted.split(",")[:_MOST_ASKED]:
        found = re.fullmatch(
            r"\s*([A-Za-z]{2}(?:-[A-Za-z0-9]{2,8}){0,2})\s*(?:;\s*q=([01](?:\.\d{0,3})?))?\s*", one
        )
        if found and float(found[2] or 1) > 0:
            tags.append((-float(found[2] or 1), found[1].lower()))
    return [tag for _, tag in sorted(tags, key=lambda one: one[0])]


@lru_cache(256)  # a browser may ask for any country
def _known(name: str) -> Locale | None:
    try:
        return Locale.parse(name)
    except (UnknownLocaleError, ValueError):
        return None


def _catalog(language: str) -> Catalog:
    file = files("anomalyvfm.server.pages").joinpath("languages", f"{language}.po")
    return read_po(BytesIO(file.read_bytes()), locale=language)


@cache
def _translations(language: str) -> NullTranslations:
    if language == "en":
        return NullTranslations()
    compiled = BytesIO()
    write_mo(compiled, _catalog(language))
    compiled.seek(0)
    return Translations(compiled)
