"""Elements of SVG as escaped markup."""

from __future__ import annotations

from markupsafe import Markup


def element(tag: str, *content: str, **attributes: object) -> Markup:
    """``<tag attributes>content</tag>``; text is escaped, Markup is taken as it is.

    Attributes are named as in Python: ``class_`` for class, ``text_anchor`` for text-anchor. Numbers are
    written to a tenth of a pixel, which no eye can tell from more.
    """
    head = Markup("").join(
        Markup(' {}="{}"').format(
            name.rstrip("_").replace("_", "-"), f"{value:.1f}" if isinstance(value, float) else value
        )
        for name, value in attributes.items()
    )
    return Markup("<{}{}>{}</{}>").format(tag, head, Markup("").join(content), tag)
