"""report.html: the whole evaluation on one page that needs nothing but itself."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from html import escape
from importlib.resources import files
from io import BytesIO
from string import Template
from typing import Any

from PIL import Image

from anomalyvfm.evaluation.report import Judged, Report
from anomalyvfm.evaluation.reports.text import (
    AVERAGE_AUROC,
    CAVEAT,
    METRIC_NAMES,
    SOURCE,
    against_note,
    compare_with_reported,
    cost_facts,
    counts,
    model_facts,
    note,
    number,
    one_line,
    promise_lines,
    short_note,
    shown_groups,
    shown_metrics,
    threshold_facts,
)

MOST_THUMBNAILS = 2000  # about 10 MB of page

_HEADLINES = ("image_auroc", "class_f1", "detection_rate", "false_alarm_rate", "aupro_0.30", "seg_f1")
_CAPTIONS = {
    "anomaly_scores.png": "Scores of good and defective test images, and the threshold.",
    "roc_curves.png": "Image ROC, per-region overlap, and precision against recall.",
    "sample_detections.png": "The best, the median and the worst found defect, and the good images with the"
    " highest scores.",
    "feature_analysis.png": "Test images in feature space, the spectrum of the pooled covariance, and how"
    " much good images vary at each place.",
}


def render_page(report: Report, summary: str, figures: Mapping[str, bytes]) -> str:
    """The page as HTML. ``figures`` are PNG files by name; ``summary`` is performance_summary.txt."""
    metrics = report.metrics
    shown = most_interesting(report.images, MOST_THUMBNAILS, metrics["threshold"])
    omitted = len(report.images) - len(shown)
    groups = [
        name
        for name, by in (("condition", metrics["by_condition"]), ("kind", metrics["by_kind"]))
        if len(by) > 1
    ]
    template = files("anomalyvfm.evaluation.reports").joinpath("report.html").read_text(encoding="utf-8")
    return Template(template).substitute(
        title=_text(f"Evaluation of {metrics['category']}"),
        counts=_text(
            f"{counts(metrics)} · layout {metrics['layout']}"
            f" · AnomalyVFM {report.model['anomalyvfm_version']}"
        ),
        headlines="".join(_headline(metrics, name) for name in _HEADLINES),
        promise="".join(f"<p>{_text(line)}</p>" for line in promise_lines(report)),
        figures="".join(_figure(name, data) for name, data in figures.items()),
        metrics=_metrics_table(metrics),
        groups=_groups_table("By condition", shown_groups(metrics, "by_condition"))
        + _groups_table("By kind of defect, each against all good images", shown_groups(metrics, "by_kind")),
        against=_against_table(metrics["against"]),
        reported=_reported_table(metrics),
        facts=_facts([*model_facts(report.model), *threshold_facts(report), *cost_facts(metrics)]),
        skipped=_skipped(metrics["skipped"]),
        summary=_text(summary, keep_breaks=True),
        thumbnails_note=_text(
            f"{omitted} of {len(report.images)} rows are without a picture, to keep the page small: those"
            " with right decisions furthest from the threshold."
            if omitted
            else ""
        ),
        total=str(len(report.images)),
        group_heads="".join(f'<th scope="col"><button type="button">{name}</button></th>' for name in groups),
        rows="\n".join(
            _row(index, image, index in shown, groups) for index, image in enumerate(report.images)
        ),
    )


def most_interesting(images: list[Judged], count: int, threshold: float) -> set[int]:
    """Indices of ``count`` images: wrong decisions first, then those closest to the threshold."""
    order = sorted(
        range(len(images)),
        key=lambda i: (outcome(images[i]) in ("found", "passed"), abs(images[i].verdict.score - threshold)),
    )
    return set(order[:count])


def outcome(image: Judged) -> str:
    if image.sample.label:
        return "found" if image.verdict.anomalous else "missed"
    return "false alarm" if image.verdict.anomalous else "passed"


def _text(text: str, keep_breaks: bool = False) -> str:
    return escape(text if keep_breaks else one_line(text), quote=True)


def _data_url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _headline(metrics: dict[str, Any], name: str) -> str:
    value, interval = metrics[name], metrics["intervals"].get(name)
    percent = name in ("detection_rate", "false_alarm_rate")

    def shown(x: float) -> str:
        return f"{x:.1%}" if percent else f"{x:.3f}"

    below = f"95%: {shown(interval[0])}–{shown(interval[1])}" if interval else ""
    if value is None:
        below = metrics["reasons"].get(name, "")
    return (
        f'<div class="headline"><dt>{_text(METRIC_NAMES[name])}</dt>'
        f"<dd><b>{'–' if value is None else shown(value)}</b><span>{_text(below)}</span></dd></div>"
    )


def _figure(name: str, data: bytes) -> str:
    kind = "png"
    with Image.open(BytesIO(data)) as image:
        width, height = image.size
        if name == "sample_detections.png":  # photographs: a tenth of the size as JPEG
            stream = BytesIO()
            image.convert("RGB").save(stream, format="JPEG", quality=85)
            data, kind = stream.getvalue(), "jpeg"
    caption = _text(_CAPTIONS[name])
    return (
        f'<figure><img src="{_data_url(data, kind)}" width="{width}" height="{height}" alt="{caption}">'
        f"<figcaption>{caption} <code>{_text(name)}</code></figcaption></figure>"
    )


def _metrics_table(metrics: dict[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{_text(text)}</th><td class="n">{number(metrics[name])}</td>'
        f"<td>{_text(note(metrics, name))}</td></tr>"
        for name, text in METRIC_NAMES.items()
    )
    return (
        '<table><caption>All test images</caption><thead><tr><th scope="col">metric</th>'
        '<th scope="col" class="n">value</th><th scope="col">95% interval, or why there is no value</th>'
        f"</tr></thead><tbody>{rows}</tbody></table>"
    )


def _groups_table(caption: str, groups: dict[str, dict[str, Any]]) -> str:
    if not groups:
        return ""
    columns = shown_metrics(groups)
    head = "".join(f'<th scope="col" class="n">{_text(METRIC_NAMES[name])}</th>' for name in columns)
    body = []
    for group_name, group in groups.items():
        cells = "".join(
            f'<td class="n">{number(group[name])}<small>{_text(short_note(group, name))}</small></td>'
            for name in columns
        )
        body.append(
            f'<tr><th scope="row">{_text(group_name)}</th><td class="n">{group["n_good"]}</td>'
            f'<td class="n">{group["n_bad"]}</td>{cells}</tr>'
        )
    return (
        f'<div class="wide"><table><caption>{_text(caption)}</caption><thead><tr><th scope="col">group</th>'
        f'<th scope="col" class="n">good</th><th scope="col" class="n">bad</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _against_table(against: dict[str, Any] | None) -> str:
    if against is None:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{_text(METRIC_NAMES[name])}</th><td class="n">{number(one["value"])}</td>'
        f'<td class="n">{number(one["other"])}</td><td class="n">{one["difference"]:+.4f}</td>'
        f'<td class="n">{one["interval"][0]:+.4f} to {one["interval"][1]:+.4f}</td>'
        f'<td class="n">{one["p_value"]:.3f}</td>'
        f"<td>{'noise' if one['noise'] else 'more than noise'}</td></tr>"
        for name, one in against["metrics"].items()
    )
    heads = "".join(
        f'<th scope="col" class="n">{name}</th>' for name in ("this", "other", "by", "95% interval", "p")
    )
    return (
        f"<table><caption>Against {_text(against['model'])}</caption><thead><tr>"
        f'<th scope="col">metric</th>{heads}<th scope="col">difference</th></tr></thead>'
        f"<tbody>{rows}</tbody></table><p>{_text(against_note(against))}</p>"
    )


def _reported_table(metrics: dict[str, Any]) -> str:
    rows = compare_with_reported(metrics["layout"], metrics["category"], metrics)
    if not rows:
        return ""
    body = "".join(
        f'<tr><th scope="row">{_text(METRIC_NAMES[row.metric])}</th>'
        f'<td class="n">{number(row.reported)}</td><td class="n">{number(row.measured)}</td></tr>'
        for row in rows
    )
    means = ", ".join(f"{name} {value:.4f}" for name, value in AVERAGE_AUROC.items())
    return (
        f"<table><caption>Beside what was reported for MVTec AD 2 ({SOURCE})</caption><thead><tr>"
        f'<th scope="col">metric</th><th scope="col" class="n">{SOURCE}</th>'
        f'<th scope="col" class="n">this run</th></tr></thead><tbody>{body}</tbody></table>'
        f"<p>Reported mean image AUROC of seven categories: {_text(means)}. {_text(CAVEAT)}</p>"
    )


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in facts)


def _skipped(skipped: list[str]) -> str:
    if not skipped:
        return ""
    items = "".join(f"<li>{_text(message)}</li>" for message in skipped)
    return f"<details><summary>{len(skipped)} images skipped</summary><ul>{items}</ul></details>"


def _why(image: Judged, name: str, with_picture: bool) -> str:
    """The oddest region beside the good patch most like it, and the layers that object."""
    if image.exhibit is None:
        return "<td></td>"
    picture = ""
    if with_picture:
        alt = f"Oddest place of {name}, and the good patch most like it"
        picture = f'<img src="{_data_url(image.exhibit, "jpeg")}" alt="{alt}" loading="lazy">'
    return f'<td class="why">{picture}<small>{_text(image.reason)}</small></td>'


def _row(index: int, image: Judged, with_picture: bool, groups: list[str]) -> str:
    sample = image.sample
    # Images of one name lie in several folders; the one above tells them apart.
    name = _text(f"{sample.path.parent.name}/{sample.path.name}")
    picture = "<td></td>"
    if with_picture:
        picture = (
            f'<td><button class="thumb" aria-label="Enlarge {name}">'
            f'<img src="{_data_url(image.thumbnail, "jpeg")}" alt="" loading="lazy"></button></td>'
        )
    result = outcome(image)
    of = {"condition": sample.condition or "", "kind": sample.kind if sample.label else ""}
    return (
        f'<tr data-outcome="{result}" data-i="{index}">{picture}<th scope="row">{name}</th>'
        f'<td class="n" data-v="{image.verdict.score!r}">{image.verdict.score:.3f}</td>'
        f'<td class="n" data-v="{image.verdict.p_value!r}">{image.verdict.p_value:.4f}</td>'
        f"<td>{'anomalous' if image.verdict.anomalous else 'good'}</td>"
        f"<td>{'defective' if sample.label else 'good'}</td>"
        f'<td><span class="tag {result.replace(" ", "-")}">{result}</span></td>'
        f"{''.join(f'<td>{_text(of[name])}</td>' for name in groups)}{_why(image, name, with_picture)}</tr>"
    )
