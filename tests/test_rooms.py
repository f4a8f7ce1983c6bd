"""The house: no circle, no arrow against the order of the rooms, and no torch where a PC has none."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"

# A room or a loose module may import those before it.
ORDER = (
    *("errors", "version", "tracking", "sealed", "files", "presets"),
    *("data", "features", "synthesis", "metrics", "decision", "explain", "visual"),
    *("pipeline", "statistical", "ranking", "adapted", "judging", "calibrating", "model_folder", "detector"),
    *("predictions", "evaluation", "submission", "runtime", "export", "model_store", "cluster", "line"),
    *("", "server", "demo", "doctor", "cli", "__main__"),
)
# Likewise in server/.
STATION = (
    *("settings", "logs", "problems", "metrics", "events", "store", "decoding", "auth"),
    *(
        "models",
        "outbox",
        "drift_monitor",
        "inspections",
        "sources",
        "reviewed_parts",
        "recalibration",
        "teaching",
        "review",
        "statistics",
        "report",
        "station",
    ),
    "backup",
    *("api", "pages", "middleware", "app", "tracing", "serving"),
)


@cache
def modules() -> dict[str, Path]:
    """Every module's file by its name below the package, that of the package itself being empty."""
    named = {}
    for path in (SOURCE / "anomalyvfm").rglob("*.py"):
        parts = path.relative_to(SOURCE / "anomalyvfm").with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


@cache
def imports() -> dict[str, set[str]]:
    """What each module imports of the package, wherever in it and for types as well."""
    found: dict[str, set[str]] = {}
    for name, path in modules().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found[name] = set(_imported(ast.walk(tree))) - {name}
    return found


def _imported(nodes: Iterator[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "anomalyvfm":
            for alias in node.names:
                below = f"{node.module}.{alias.name}".removeprefix("anomalyvfm.")
                yield below if below in modules() else str(node.module)[len("anomalyvfm.") :]


def room(module: str) -> str:
    return module.split(".")[0]


def test_no_module_imports_itself_by_way_of_others() -> None:
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_arrows_follow_the_order_of_the_rooms() -> None:
    assert {room(name) for name in modules()} == set(ORDER), "a room is not in the order, or is no more"
    place = {name: number for number, name in enumerate(ORDER)}
    against = [
        f"{name} imports {other}"
        for name, others in imports().items()
        for other in others
        if place[room(other)] > place[room(name)]
    ]
    assert not against, "\n".join(against)


def test_arrows_follow_the_order_of_the_stations_rooms() -> None:
    own = {name: name.split(".")[1] for name in modules() if name.startswith("server.")}
    assert set(own.values()) == set(STATION)
    place = {name: number for number, name in enumerate(STATION)}
    against = [
        f"{name} imports {other}"
        for name in own
        for other in imports()[name]
        if other in own and place[own[other]] > place[own[name]]
    ]
    assert not against, "\n".join(against)


def test_decisions_and_the_runtime_know_no_torch() -> None:
    """They themselves nowhere, and what they import not when it is loaded."""
    reached: set[str] = set()
    left = [name for name in modules() if room(name) in ("decision", "runtime")]
    assert left
    while left:
        name = left.pop()
        tree = ast.parse(modules()[name].read_text(encoding="utf-8"))
        nodes = list(ast.walk(tree) if room(name) in ("decision", "runtime") else ast.iter_child_nodes(tree))
        assert "torch" not in {package for node in nodes for package in _packages(node)}, name
        reached.add(name)
        left += [other for other in _imported(iter(nodes)) if other not in reached]


def _packages(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield str(node.module).split(".")[0]
