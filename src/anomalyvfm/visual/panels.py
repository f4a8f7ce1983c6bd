"""Odd regions as pictures, each beside the good patch most like it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from anomalyvfm.data import InputFrame
from anomalyvfm.decision.reason import Box
from anomalyvfm.decision.regions import Region
from anomalyvfm.decision.verdict import Verdict
from anomalyvfm.visual.overlay import OUTLINE, draw, heat_range, heated, outline

_MOST = 3  # regions beside an overlay
_GAP, _LINE, _TEXT = 10, 17, 13
_SCALE = (90, 10)  # width and height of the heat's scale
_INK, _MUTED, _EMPTY = (31, 35, 40), (89, 99, 110), (217, 222, 227)
# Of brightness: a good patch seen in half the light is still the same place, in a tenth it may be none.
_MOST_GAIN = 2.5
# A window's side: the region with some surroundings, within these shares of the image's shorter side.
_CONTEXT, _LEAST, _LARGEST = 1.6, 0.2, 0.5


def draw_sheet(image: NDArray[np.uint8], verdict: Verdict) -> NDArray[np.uint8]:
    """The overlay of an image (H, W, 3) with all that is known of it.

    Below it the verdict and the scale of the heat; right of it the oddest regions with their reasons.
    """
    overlay = Image.fromarray(draw(image, verdict))
    pen = ImageDraw.Draw(overlay)
    explained = [region for region in verdict.regions if region.reason is not None][:_MOST]
    scale = np.divide(overlay.size, verdict.size[::-1])
    for number, region in enumerate(explained, start=1):
        _mark(pen, str(number), region, scale, overlay.size)
    parts = [_with_verdict(overlay, verdict)]
    if explained:
        parts.append(_reasons(image, verdict, explained, parts[0].height))
    sheet = Image.new("RGB", (sum(part.width for part in parts), max(part.height for part in parts)), "white")
    left = 0
    for part in parts:
        sheet.paste(part, (left, 0))
        left += part.width
    return np.asarray(sheet)


def _with_verdict(overlay: Image.Image, verdict: Verdict) -> Image.Image:
    """The overlay on a sheet that says below it what the verdict is and what the heat means."""
    low, high = heat_range(verdict)
    remark = "; its light is odd" if verdict.odd_light else "; no region counts" if verdict.excused else ""
    caption = (
        f"{'anomalous' if verdict.anomalous else 'good'}: score {verdict.score:.2f}, "
        f"threshold {verdict.threshold:.2f}{remark}"
    )
    font, scale = _font(_TEXT), _scale(f"{low:.1f}", f"{high:.1f}")
    width = max(overlay.width, math.ceil(font.getlength(caption)) + _GAP, scale.width)
    sheet = Image.new("RGB", (width, overlay.height + 2 * _LINE + 2 * _GAP), "white")
    sheet.paste(overlay, (0, 0))
    top = overlay.height + _GAP // 2
    ImageDraw.Draw(sheet).text((_GAP // 2, top), caption, _INK, font)
    sheet.paste(scale, (0, top + _LINE + 2))
    return sheet


@lru_cache(maxsize=64)  # one for a model; each text takes longer to draw than the heat of an image
def _scale(low: str, high: str) -> Image.Image:
    """The colours of the heat between the values at which it starts and is full."""
    font, unit = _font(_TEXT), "std of good pixels"
    widths = [math.ceil(font.getlength(text)) for text in (low, high, unit)]
    sheet = Image.new("RGB", (sum(widths) + _SCALE[0] + 4 * _GAP, _LINE + 2), "white")
    pen = ImageDraw.Draw(sheet)
    left = _GAP // 2
    pen.text((left, 0), low, _MUTED, font)
    left += widths[0] + _GAP // 2
    heat = np.tile(np.linspace(0, 1, _SCALE[0]), (_SCALE[1], 1))
    # Over the grey of a part that is neither dark nor bright, as it lies over the image.
    bar = heated(np.full((*heat.shape, 3), 160, np.uint8), heat)
    sheet.paste(Image.fromarray(bar), (left, (_LINE - _SCALE[1]) // 2))
    pen.text((left + _SCALE[0] + _GAP // 2, 0), f"{high} {unit}", _MUTED, font)
    return sheet


def _reasons(
    image: NDArray[np.uint8], verdict: Verdict, explained: Sequence[Region], height: int
) -> Image.Image:
    """Regions one below the other, each beside the good patch most like it, over its reason in words."""
    side = int(np.clip(height / len(explained) - 4 * _LINE - _GAP, 140, 260))
    panel = (2 * side + _GAP, side + 4 * _LINE + _GAP)
    sheet = Image.new("RGB", (panel[0] + 2 * _GAP, len(explained) * panel[1] + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for number, region in enumerate(explained, start=1):
        top = _GAP + (number - 1) * panel[1]
        titles = (f"{number}  this part", "nearest good patch")
        for column, title in enumerate(titles):
            sheet.paste(_title(title, side), (_GAP + column * (side + _GAP), top))
        sheet.paste(Image.fromarray(pair(image, verdict, region, side)), (_GAP, top + _LINE + 2))
        for row, line in enumerate(reason_lines(region)):
            place = (_GAP, top + side + (row + 1) * _LINE + 6)
            pen.text(place, _fitting(pen, line, panel[0]), _MUTED, _font(_TEXT))
    return sheet


def reason_lines(region: Region) -> list[str]:
    """A region's reason in words: the layers that object, and the image that looks most like it."""
    if region.reason is None:
        return []
    lines = [", ".join(one.describe() for one in region.reason.layers[:3])]
    if (nearest := region.reason.nearest) is not None:
        lines.append(f"{nearest.image}, distance {nearest.distance:.2f}")
    return lines


def pair(image: NDArray[np.uint8] | None, verdict: Verdict, region: Region, side: int) -> NDArray[np.uint8]:
    """(side, 2 side + gap, 3): a region of an image (H, W, 3), and where a good one looks most like it.

    Without the image it is seen as it lies in the frame, where the verdict has kept that.
    Both squares show as much around it, at one scale, with the region's outline; the right one is grey
    where there is nothing of the good image.
    """
    left, top, right, bottom = window = _window(region, verdict.size)
    good = Image.new("RGB", (side, side), _EMPTY)
    if image is not None:
        own = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR, box=window)
    else:
        assert verdict.pixels is not None
        corners = np.reshape(window, (2, 2)).astype(float)
        own = _cut(verdict.pixels, corners, verdict.size, verdict.frame, side)
    nearest = None if region.reason is None else region.reason.nearest
    if nearest is not None:
        # The window moves as the region's box does; images may differ in size.
        scale = np.divide(nearest.size[::-1], verdict.size[::-1])
        corners = (np.reshape(window, (2, 2)) - region.bbox[:2]) * scale + nearest.bbox[:2]
        good = _cut(nearest.picture, corners, nearest.size, verdict.frame, side)
    mask = Image.fromarray(verdict.mask[top:bottom, left:right]).resize((side, side))
    shape = np.asarray(mask)
    squares = [np.array(own), np.array(good)]
    squares[1] = _as_bright(squares[1], squares[0], ~shape)
    for square in squares:
        outline(square, shape, thickness=max(1, side // 120), closed=False)
    between = np.full((side, _GAP, 3), 255, np.uint8)
    return np.concatenate([squares[0], between, squares[1]], axis=1)


def _as_bright(
    good: NDArray[np.uint8], own: NDArray[np.uint8], compared: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """A good patch as bright as the part around its odd place: the light is not what is compared."""
    there = (good[..., 0] != _EMPTY[0]) | (good[..., 1] != _EMPTY[1]) | (good[..., 2] != _EMPTY[2])
    compared = compared & there
    if not compared.any():
        return good
    weights = compared.ravel() / (3 * compared.sum())
    own_mean, good_mean = (float((weights @ square.reshape(-1, 3)).sum()) for square in (own, good))
    gain = np.clip((own_mean + 1) / (good_mean + 1), 1 / _MOST_GAIN, _MOST_GAIN)
    table = np.clip(np.arange(256) * gain, 0, 255).astype(np.uint8)
    lit = np.frombuffer(good.tobytes().translate(table.tobytes()), np.uint8).reshape(good.shape).copy()
    lit[~there] = _EMPTY
    return lit


def _cut(
    picture: NDArray[np.uint8],
    corners: NDArray[np.float64],
    size: tuple[int, int],
    frame: InputFrame,
    side: int,
) -> Image.Image:
    """What lies between two corners of an image of ``size``, out of a picture of its frame."""
    whole = Image.fromarray(picture)
    seen = frame.to_frame(corners, size) / (frame.width, frame.height) * whole.size
    return whole.transform(
        (side, side),
        Image.Transform.EXTENT,
        tuple(seen.ravel().tolist()),
        Image.Resampling.BICUBIC,
        fillcolor=_EMPTY,
    )


def _window(region: Region, size: tuple[int, int]) -> Box:
    """A square of the image around the region; of one too large for it, around its peak."""
    height, width = size
    x0, y0, x1, y1 = region.bbox
    longest = max(x1 - x0, y1 - y0)
    shorter = min(size)
    side = round(float(np.clip(_CONTEXT * longest, _LEAST * shorter, max(_LARGEST * shorter, 1))))
    middle = ((x0 + x1) / 2, (y0 + y1) / 2) if longest <= side else region.peak_at
    left = round(float(np.clip(middle[0] - side / 2, 0, width - side)))
    top = round(float(np.clip(middle[1] - side / 2, 0, height - side)))
    return left, top, left + side, top + side


def _mark(
    pen: ImageDraw.ImageDraw,
    text: str,
    region: Region,
    scale: NDArray[np.float64],
    size: tuple[int, int],
) -> None:
    """The region's number at the upper left of its box."""
    x, y = (np.array(region.bbox[:2]) * scale).tolist()
    place = (min(max(x - 12, 3), size[0] - 14), min(max(y - 16, 2), size[1] - 20))
    colour = (int(OUTLINE[0]), int(OUTLINE[1]), int(OUTLINE[2]))
    pen.text(place, text, colour, _font(16), stroke_width=2, stroke_fill=(0, 0, 0))


@lru_cache(maxsize=64)  # few and always the same
def _title(text: str, width: int) -> Image.Image:
    sheet = Image.new("RGB", (width, _LINE), "white")
    ImageDraw.Draw(sheet).text((0, 0), text, _INK, _font(_TEXT))
    return sheet


@cache
def _font(size: int) -> Any:
    """Pillow's own, which it would unpack anew for every line of text."""
    return ImageFont.load_default(size)


def _fitting(pen: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """The text, its middle left out where it is too wide: names differ at their ends."""
    text = " ".join(text.split())
    keep = len(text)
    shown = text
    while keep > 2 and pen.textlength(shown, _font(_TEXT)) > width:
        keep -= 1
        shown = f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"
    return shown
