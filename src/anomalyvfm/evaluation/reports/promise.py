"""What the threshold promises about good parts, and whether a test set bears it out."""

from __future__ import annotations

import math

from anomalyvfm.evaluation.report import Report


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
    rate, count = calibration["false_alarm_rate"], calibration["images"]
    if calibration["promised"]:
        lines = [
            f"Promised: a good part is rejected with probability at most {rate:.2%}, whatever the"
            f" distribution of scores (conformal; {count} calibration images)."
        ]
    else:
        lines = [
            f"Aimed at, not promised: {rate:.2%} of good parts rejected. {count} calibration images are too"
            f" few for a promise at this rate ({math.ceil(1 / rate - 1e-9) - 1} are needed); the threshold is"
            " extrapolated from their spread."
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
