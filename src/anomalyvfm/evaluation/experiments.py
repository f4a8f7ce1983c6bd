"""What was measured, to who keeps the experiments of a team: MLflow, or Weights & Biases.

Which server, and who may write to it, is said to them as always: ``MLFLOW_TRACKING_URI``, ``WANDB_API_KEY``,
``WANDB_MODE=offline``.
"""

from __future__ import annotations

import math
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from anomalyvfm.errors import InputError
from anomalyvfm.presets import flat

_PACKAGES = {"mlflow": "mlflow", "wandb": "wandb"}
_LONGEST_PARAMETER = 500
_AT_ONCE = 100
"""Parameters or metrics in a request, as MLflow takes them."""


@dataclass(frozen=True)
class Logged:
    """A run as it is logged, and those within it."""

    name: str
    settings: Mapping[str, Any]
    """Nested, as those of a preset."""
    results: Mapping[str, Any]
    """Nested, as in metrics.json; of them the numbers are logged."""
    files: Sequence[Path] = ()
    within: Sequence[Logged] = field(default_factory=tuple)


class ExperimentLog(Protocol):
    """Where runs are kept."""

    def add(self, run: Logged) -> None:
        """Raises InputError where it is not taken."""


def open_log(target: str) -> ExperimentLog:
    """``mlflow:EXPERIMENT`` or ``wandb:PROJECT``, which must be reached now.

    Raises InputError where the target is none, its package is not there, or nobody answers.
    """
    kind, _, name = target.partition(":")
    if kind not in _PACKAGES or not name.strip():
        raise InputError(f"--log {target}: write mlflow:EXPERIMENT or wandb:PROJECT")
    if find_spec(_PACKAGES[kind]) is None:
        raise InputError(f"--log {target}: {kind} is not installed; pip install 'anomalyvfm[{kind}]'")
    with _in_one_line(f"--log {target}"):
        return _Mlflow(name.strip()) if kind == "mlflow" else _Wandb(name.strip())


class _Mlflow:
    def __init__(self, experiment: str) -> None:
        # A server that is away is to be told of within a minute, not after a quarter of an hour.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        import mlflow

        if not mlflow.is_tracking_uri_set():  # type: ignore[no-untyped-call]
            raise InputError("--log mlflow: which server? set MLFLOW_TRACKING_URI")
        self._where = f"--log mlflow:{experiment}"
        self._client = mlflow.MlflowClient()
        found = self._client.get_experiment_by_name(experiment)
        self._experiment: str = (
            self._client.create_experiment(experiment) if found is None else found.experiment_id
        )

    def add(self, run: Logged) -> None:
        with _in_one_line(f"{self._where}: the results are kept, but not logged"):
            self._add(run, None)

    def _add(self, run: Logged, above: str | None) -> None:
        from mlflow.entities import Metric, Param

        tags = {"mlflow.source.name": "anomalyvfm", "mlflow.source.type": "LOCAL"}
        if above is not None:
            tags["mlflow.parentRunId"] = above
        made = self._client.create_run(self._experiment, run_name=run.name, tags=tags).info.run_id
        now = int(time.time() * 1000)
        settings = iter(Param(_key(key), value) for key, value in _texts(run.settings))
        while some := list(islice(settings, _AT_ONCE)):
            self._client.log_batch(made, params=some)
        results = iter(Metric(_key(key), value, now, 0) for key, value in numbers(run.results))
        while found := list(islice(results, _AT_ONCE)):
            self._client.log_batch(made, metrics=found)
        for path in run.files:
            self._client.log_artifact(made, str(path))
        for inner in run.within:
            self._add(inner, made)
        self._client.set_terminated(made)


class _Wandb:
    def __init__(self, project: str) -> None:
        import wandb

        self._project = project
        self._where = f"--log wandb:{project}"
        is_online = wandb.setup().settings.mode not in ("offline", "disabled")
        if is_online and not wandb.login(prompt=False, verify=True):
            raise InputError(
                f"{self._where}: nobody is signed in; set WANDB_API_KEY, or WANDB_MODE=offline and sync later"
            )

    def add(self, run: Logged) -> None:
        with _in_one_line(f"{self._where}: the results are kept, but not logged"):
            self._add(run, None)

    def _add(self, run: Logged, group: str | None) -> None:
        import wandb

        group = f"{run.name} {int(time.time())}" if run.within and group is None else group
        with wandb.init(
            project=self._project,
            name=run.name,
            group=group,
            config=dict(flat(run.settings)),
            settings=wandb.Settings(silent=True, console="off"),
        ) as made:
            made.log(dict(numbers(run.results)))
            if run.files:
                artifact = wandb.Artifact(re.sub(r"[^\w.-]", "_", run.name), "evaluation")
                for path in run.files:
                    artifact.add_file(str(path))
                made.log_artifact(artifact)
        for inner in run.within:
            self._add(inner, group)


def numbers(results: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    """All finite numbers in nested results: ``by_kind/scratch/image_auroc``; of intervals, low and high."""
    for name, value in results.items():
        key = f"{above}{name}"
        if isinstance(value, Mapping):
            yield from numbers(value, f"{key}/")
        elif above.endswith("intervals/") and isinstance(value, list | tuple):
            yield from numbers(dict(zip(("low", "high"), value, strict=True)), f"{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield key, float(value)


def _texts(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in flat(settings):
        yield key, str(value)[:_LONGEST_PARAMETER]


def _key(name: str) -> str:
    """A name as MLflow takes it; conditions of images are called as they like."""
    return re.sub(r"[^\w.\- /]", "_", name)[:250]


@contextmanager
def _in_one_line(where: str) -> Iterator[None]:
    """Whatever a client of a server raises, said in a line; what it prints is not the command's result."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except InputError:
        raise
    except Exception as error:  # each has errors of its own
        said = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{where}: {said[:300]}") from None
