"""How figures look. Colours differ in lightness too, and never tell alone: shapes and hatches say the same.

Figures are made through matplotlib's objects, without pyplot: nothing global is read or changed, so they
can be drawn in any thread of a server.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

# From the palette of Okabe & Ito (2008), which all forms of colour vision tell apart.
GOOD, GOOD_DARK = "#56B4E9", "#0072B2"
BAD, BAD_DARK = "#D55E00", "#8F3F00"
INK, MUTED, FAINT = "#1F2328", "#59636E", "#D9DEE3"
BAD_HATCH = "////"
GOOD_MARKER, BAD_MARKER = "o", "^"
HEAT = "inferno"  # evenly rising in lightness: the order survives a greyscale print

_DPI = 150


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=_DPI, format="png")


def tidy(axes: Axes, title: str, x: str = "", y: str = "") -> None:
    """A panel with a title at the left, two spines, and a faint grid."""
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK)
    axes.set_xlabel(x, fontsize=10, color=INK)
    axes.set_ylabel(y, fontsize=10, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def explain(axes: Axes, title: str, reason: str) -> None:
    """A panel that says why it has nothing to show."""
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(FAINT)
    text = fill(plain(reason), 34)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=MUTED, fontsize=11)


def backed(pad: float = 2) -> dict[str, Any]:
    """The box behind a text that lies on a drawing."""
    return {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": pad}


def plain(text: str) -> str:
    """Text as a figure can show it: what the font lacks becomes '?', and nothing is taken for a formula."""
    known = _glyphs()
    shown = (char if char == "\n" or ord(char) in known else "?" for char in text)
    return "".join(shown).replace("$", r"\$")


def shorten(text: str, length: int) -> str:
    """At most ``length`` characters, the middle left out: names differ at their ends."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties())).get_charmap())
