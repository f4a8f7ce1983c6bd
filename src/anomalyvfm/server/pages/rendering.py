"""Templates and static files, read from the package once: no name from a request becomes a path."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from anomalyvfm.server.pages import charts, language, wording

_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class StaticFile:
    content: bytes
    media_type: str


@cache
def static_files() -> tuple[str, dict[str, StaticFile]]:
    """The version, which changes with any file's content, and the files by name.

    Browsers may keep a file for ever under a URL that names its version. Scripts import each other by that
    same URL: under another, a browser would run the imported script a second time.
    """
    found = {}
    for file in files("anomalyvfm.server.pages").joinpath("static").iterdir():
        found[file.name] = file.read_bytes()
    version = hashlib.sha256(b"".join(found[name] for name in sorted(found))).hexdigest()[:12]
    versioned = rb'from "./\1?v=' + version.encode() + b'"'
    return version, {
        name: StaticFile(
            re.sub(rb'from "\./([\w.]+)"', versioned, content) if name.endswith(".js") else content,
            _TYPES[name[name.rindex(".") :]],
        )
        for name, content in found.items()
    }


def static_url(name: str) -> str:
    version, known = static_files()
    if name not in known:
        raise KeyError(name)
    return f"/static/{name}?v={version}"


@cache
def environment() -> Environment:
    """Jinja2 with everything escaped, and a template's misspelt name an error instead of a gap."""
    env = Environment(
        loader=PackageLoader("anomalyvfm.server.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    env.install_gettext_callables(  # type: ignore[attr-defined]  # the extension brings it
        language.gettext, language.ngettext, newstyle=True
    )
    env.filters |= {
        "by": wording.by,
        "moment": language.moment,
        "number": language.number,
        "one_in": wording.one_in,
        "percent": wording.percent,
        "score": wording.score,
        "state": wording.state,
        "word": wording.word,
    }
    env.globals |= {
        "static": static_url,
        "rate_chart": charts.rate_chart,
        "mean_chart": charts.mean_chart,
        "score_chart": charts.score_chart,
        "what_if_chart": charts.what_if_chart,
    }
    return env
