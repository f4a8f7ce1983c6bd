"""performance_summary.txt: the numbers of a run in plain text, for a mail or a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from anomalyvfm.decision.calibration import images_needed
from anomalyvfm.evaluation.report import Report
from anomalyvfm.evaluation.reports.style import shorten
from anomalyvfm.statistical.choice import Choice

METRIC_NAMES = {
    "image_auroc": "image AUROC",
    "image_ap": "image average precision",
    "image_f1": "image F1, best threshold",
    "class_f1": "image F1 of the decisions (ClassF1)",
    "detection_rate": "defective images found",
    "false_alarm_rate": "good images rejected",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel average precision",
    "aupro_0.30": "AU-PRO up to FPR 0.30",
    "aupro_0.05": "AU-PRO up to FPR 0.05",
    "seg_f1": "pixel F1 of the outlines (SegF1)",
    "seg_f1_best": "pixel F1, best level",
}
GROUP_METRICS = (
    "image_auroc",
    "image_ap",
    "class_f1",
    "detection_rate",
    "false_alarm_rate",
    "aupro_0.05",
    "seg_f1",
)

# What fits beside a group's name in a mail; the page and metrics.json have the rest.
_GROUP_COLUMNS = {
    "class_f1": "ClassF1",
    "detection_rate": "found",
    "false_alarm_rate": "rejected",
    "aupro_0.05": "AU-PRO 0.05",
    "seg_f1": "SegF1",
}
_ODDEST_SHOWN = 3
_SKIPPED_SHOWN = 50
_WIDTH = 100


def summary_text(report: Report) -> str:
    metrics = report.metrics
    against = metrics["against"]
    sections = [
        ("Model", _facts(model_facts(report.model))),
        ("Results", _metric_lines(metrics)),
        ("Threshold", [*_facts(threshold_facts(report)), "", *_wrapped(promise_lines(report))]),
        ("By condition", _group_lines(shown_groups(metrics, "by_condition"))),
        ("By kind of defect (each against all good images)", _group_lines(shown_groups(metrics, "by_kind"))),
        (f"Against {one_line(against['model'])}" if against else "", _against_lines(against)),
        (f"Beside what was {SOURCE}", reported_lines(metrics)),
        ("Time and memory", _facts(cost_facts(metrics))),
        (f"Skipped images: {metrics['n_skipped']}", _skipped_lines(metrics["skipped"])),
    ]
    title = f"Evaluation of {one_line(metrics['category'])}"
    body = [title, "=" * len(title), f"{counts(metrics)} ({metrics['layout']})"]
    for heading, lines in sections:
        if lines:
            body += ["", heading, "-" * len(heading), *lines]
    return "\n".join(body) + "\n"


def counts(metrics: dict[str, Any]) -> str:
    """What was tested on."""
    outside = metrics["n_outside"]
    among = f", {outside} of them for all defects outside the region of interest," if outside else ""
    return f"{metrics['n_good']} good{among} and {metrics['n_bad']} defective test images"


def one_line(text: str) -> str:
    """Text from a file name, without line breaks and control characters."""
    return "".join(char if char.isprintable() else "?" for char in text)


def number(value: float | None) -> str:
    return "null" if value is None else f"{value:.4f}"


def note(group: dict[str, Any], name: str) -> str:
    """The 95% interval of a metric, and what is to be said of it."""
    parts = []
    if interval := group["intervals"].get(name):
        parts.append(f"{interval[0]:.4f} to {interval[1]:.4f}")
    if reason := group["reasons"].get(name):
        parts.append(reason)
    if bound := group["bounds"].get(name):
        parts.append(f"exact to ±{bound:.1g}")
    return "; ".join(parts)


def short_note(group: dict[str, Any], name: str) -> str:
    """A metric's 95% interval as a narrow column can hold it, or why there is no value."""
    if interval := group["intervals"].get(name):
        return f"{interval[0]:.3f}–{interval[1]:.3f}"
    return str(group["reasons"].get(name, ""))


def model_facts(model: dict[str, Any]) -> list[tuple[str, str]]:
    fitted, frame, grid = model["fitted_on"], model["input_frame"], model["grid"]
    return [
        ("preset", str(model["settings"]["name"])),
        ("backbone", f"{model['backbone']['name']}, layers {model['backbone']['layers']}"),
        ("weights", model["backbone"]["weight_hash"][:16]),
        ("frame", f"{frame['height']}×{frame['width']} px, {frame['aspect']}"),
        ("grid", f"{grid['height']}×{grid['width']} patches, {grid['dimensions']} dimensions"),
        *_choice(model),
        ("learned", f"{fitted['images']} good images of {one_line(str(fitted['category']))}"),
        *_oddest(fitted.get("oddest", [])),
        ("version", model["anomalyvfm_version"]),
    ]


def _choice(model: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What v2 chose when it was fitted."""
    if "choice" in model:
        reasons = Choice.from_dict(model["choice"]).reasons(model["sizes_seen"])
        yield from zip(("places", "scales", "whole image"), reasons, strict=True)


def _oddest(images: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The good images to look at for a defect that was learned with them."""
    named = (f"{one_line(str(image['image']))} {image['score']:.1f}" for image in images[:_ODDEST_SHOWN])
    return [("oddest good images", f"{', '.join(named)} (by models without them)")] if images else []


def threshold_facts(report: Report) -> list[tuple[str, str]]:
    return [
        ("threshold", f"{report.metrics['threshold']:.4f}"),
        ("best in hindsight", number(report.metrics["image_f1_threshold"])),
    ]


def cost_facts(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("fit", f"{metrics['fit_s']:.1f} s"),
        ("test with metrics", f"{metrics['predict_s']:.1f} s, {metrics['images_per_s']:.1f} images/s"),
        ("peak memory", f"{metrics['peak_mb']:.0f} MB"),
    ]


def reported_lines(metrics: dict[str, Any]) -> list[str]:
    rows = compare_with_reported(metrics["layout"], metrics["category"], metrics)
    if not rows:
        return []
    lines = [f"{'':<26}{'reported':>10}{'this run':>10}"]
    lines += [
        f"{METRIC_NAMES[row.metric]:<26}{number(row.reported):>10}{number(row.measured):>10}" for row in rows
    ]
    means = ", ".join(f"{name} {value:.4f}" for name, value in AVERAGE_AUROC.items())
    return [*lines, *wrap(f"Reported mean image AUROC of seven categories: {means}.", _WIDTH), CAVEAT]


def against_note(against: dict[str, Any]) -> str:
    """What another model was compared on, or why it was not."""
    if against["reason"]:
        return f"No difference: {against['reason']}."
    return (
        f"Both on {against['images']} images. p: how often equal models would differ as much (image AUROC:"
        " DeLong's test; else the paired bootstrap). Noise: in one of twenty comparisons or more."
    )


def _against_lines(against: dict[str, Any] | None) -> list[str]:
    if against is None:
        return []
    note = wrap(against_note(against), _WIDTH)
    if against["reason"]:
        return note
    lines = [f"{'':<38}{'this':>8}{'other':>8}{'by':>9}  {'95% interval':<20}{'p':>6}"]
    for name, one in against["metrics"].items():
        interval = "{:+.4f} to {:+.4f}".format(*one["interval"])
        line = (
            f"{METRIC_NAMES[name]:<38}{number(one['value']):>8}{number(one['other']):>8}"
            f"{one['difference']:>+9.4f}  {interval:<20}{one['p_value']:>6.3f}"
        )
        lines.append(f"{line}  noise" if one["noise"] else line)
    return [*lines, "", *note]


def _metric_lines(metrics: dict[str, Any]) -> list[str]:
    lines = [f"{'':<38}{'value':>8}  95% interval, or why there is no value"]
    return lines + [
        f"{text:<38}{number(metrics[name]):>8}  {note(metrics, name)}".rstrip()
        for name, text in METRIC_NAMES.items()
    ]


def shown_groups(metrics: dict[str, Any], by: str) -> dict[str, dict[str, Any]]:
    """The groups of ``by_condition`` or ``by_kind``; none where the only one is the whole test set."""
    groups: dict[str, dict[str, Any]] = metrics[by]
    counts = ("n_good", "n_bad")
    if len(groups) == 1 and all(group[n] == metrics[n] for group in groups.values() for n in counts):
        return {}
    return groups


def shown_metrics(groups: dict[str, dict[str, Any]]) -> list[str]:
    """Which of GROUP_METRICS the groups have: kinds of defect have none of pixels."""
    return [name for name in GROUP_METRICS if all(name in group for group in groups.values())]


def _group_lines(groups: dict[str, dict[str, Any]]) -> list[str]:
    if not groups:
        return []
    columns = [name for name in shown_metrics(groups) if name in _GROUP_COLUMNS]
    names = [shorten(one_line(name), 26) for name in groups]
    width = max(12, *map(len, names)) + 2
    heads = "".join(f"{_GROUP_COLUMNS[name]:>{_column(name)}}" for name in columns)
    lines = [f"{'':<{width}}{'good':>5}{'bad':>5}  {'image AUROC (95%)':<20}{heads}"]
    for name, group in zip(names, groups.values(), strict=True):
        patches = "".join(f"{number(group[metric]):>{_column(metric)}}" for metric in columns)
        auroc = number(group["image_auroc"])
        if "image_auroc" in group["intervals"]:
            auroc += f" ({short_note(group, 'image_auroc')})"
        lines.append(f"{name:<{width}}{group['n_good']:>5}{group['n_bad']:>5}  {auroc:<20}{patches}")
    return lines


def _column(metric: str) -> int:
    return max(6, len(_GROUP_COLUMNS[metric])) + 2


def _facts(facts: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{name:<20}{value}" for name, value in facts]


def _wrapped(sentences: Iterable[str]) -> list[str]:
    return [line for sentence in sentences for line in wrap(sentence, _WIDTH)]


def _skipped_lines(skipped: list[str]) -> list[str]:
    lines = [one_line(message) for message in skipped[:_SKIPPED_SHOWN]]
    if more := len(skipped) - len(lines):
        lines.append(f"and {more} more; metrics.json names them all")
    return lines


def chance_of_so_many(alarms: int, good: int, calibrated_on: int, rate: float) -> float:
    """P(at least ``alarms`` of ``good`` new good images lie above a conformal threshold).

    The threshold is the k-th smallest of n calibration scores, so the share of good images above it is
    distributed as Beta(n + 1 - k, k) for any continuous distribution of scores, and the count among m new
    ones as a beta-binomial (Vovk, 2012, "Conditional validity of inductive conformal predictors").
    """
    from scipy.stats import betabinom

    k = math.ceil((calibrated_on + 1) * (1 - rate) - 1e-9)
    return float(betabinom(good, calibrated_on + 1 - k, k).sf(alarms - 1))


def promise_lines(report: Report) -> list[str]:
    """Sentences: what is promised, what was seen, and whether the two agree."""
    calibration, metrics = report.model["calibration"], report.metrics
    rate, images = calibration["false_alarm_rate"], calibration["images"]
    count = calibration.get("groups", images)
    counted = f"{count} calibration images"
    if count < images:
        counted = f"{count} groups of calibration images, {images} in all,"
    if calibration["promised"]:
        lines = [
            f"Promised: a good part is rejected with probability at most {rate:.2%}, whatever the"
            f" distribution of scores (conformal; {counted.rstrip(',')})."
        ]
    else:
        basis = " from their spread" if images < images_needed(rate) else ""
        lines = [
            f"Aimed at, not promised: {rate:.2%} of good parts rejected. {counted} are too"
            f" few for a promise at this rate ({images_needed(rate)} are needed); the threshold is"
            f" an estimate{basis}."
        ]
    observed = metrics["false_alarm_rate"]
    if observed is None:
        return [*lines, f"Observed: nothing ({metrics['reasons']['false_alarm_rate']})."]
    good = metrics["n_good"]
    alarms = round(observed * good)
    interval = metrics["intervals"].get("false_alarm_rate")
    spread = f" (95%: {interval[0]:.2%} to {interval[1]:.2%})" if interval else ""
    lines.append(f"Observed: {alarms} of {good} good test images rejected, {observed:.2%}{spread}.")
    if calibration["promised"]:
        chance = chance_of_so_many(alarms, good, count, rate)
        if chance < 0.01:
            lines.append(
                f"If these good images were like the calibration images, so many would be rejected with"
                f" probability {chance:.1g}: they differ, in lighting, camera or production."
            )
        else:
            lines.append("The observed rate is in keeping with the promise.")
    return lines


SOURCE = "reported, not measured"

CATEGORY_AUROC = {
    "fruit_jelly": 0.6492,
    "fabric": 0.6520,
    "can": 0.5528,
    "sheet_metal": 0.3653,
    "vial": 0.6971,
    "wallplugs": 0.4372,
    "walnuts": 0.5844,
}
"""Image AUROC by category; rice was left out of the reports."""

AVERAGE_AUROC = {"v1.1": 0.5626, "v1.2": 0.5530, "v1.3": 0.5310, "v1.4": 0.5532, "frozen features": 0.5539}
"""Mean image AUROC of the seven categories by pipeline; the last without adaptation."""

CATEGORY_AUPRO = {"fruit_jelly": 0.7806}


@dataclass(frozen=True)
class Comparison:
    """A reported number and the measured one beside it, if this run has it."""

    metric: str
    reported: float
    measured: float | None


CAVEAT = "Reported for MVTec's own images and the v1 pipelines; data of another make does not compare."


def compare_with_reported(layout: str, category: str, metrics: Mapping[str, Any]) -> list[Comparison]:
    """What was reported for a category beside ``metrics`` as in metrics.json; none for other data.

    The reports do not say up to which false-positive rate their AU-PRO goes; 0.30 is what papers of that
    kind use.
    """
    if layout != "mvtec_ad2" or category not in CATEGORY_AUROC:
        return []
    rows = [Comparison("image_auroc", CATEGORY_AUROC[category], metrics.get("image_auroc"))]
    if category in CATEGORY_AUPRO:
        rows.append(Comparison("aupro_0.30", CATEGORY_AUPRO[category], metrics.get("aupro_0.30")))
    return rows
