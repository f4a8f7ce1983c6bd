"""Models in stores: put there whole, taken whole and as they were put, whoever else is at work there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from anomalyvfm import model_store
from anomalyvfm.errors import InputError
from anomalyvfm.model_store import pull, push
from tests.cli.commands import as_json, refused, run

URL = "memory://models/gear"


@pytest.fixture
def store() -> Iterator[MemoryFileSystem]:
    """The store behind memory://, empty."""
    found = MemoryFileSystem()
    yield found
    for path in found.find("/"):
        found.rm_file(path)


def names(store: MemoryFileSystem, place: str = "/models/gear") -> list[str]:
    return sorted(path.rsplit("/", 1)[1] for path in store.find(place))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".anomalyvfm.json"}


def test_what_is_pulled_is_what_was_pushed(
    store: MemoryFileSystem, fitted_folder: Path, exported_folder: Path, tmp_path: Path
) -> None:
    for number, folder in enumerate((fitted_folder, exported_folder)):
        pushed = push(folder, f"{URL}-{number}")
        pulled = pull(f"{URL}-{number}", tmp_path / str(number))
        assert contents(tmp_path / str(number)) == contents(folder)
        assert (pushed.sha256, set(pushed.files), pushed.bytes) == (
            *(pulled.sha256, set(pulled.files), pulled.bytes),
        )
        assert pushed.bytes == sum(map(len, contents(folder).values()))


def test_a_model_that_is_there_is_replaced_only_when_that_is_wanted(
    store: MemoryFileSystem, fitted_folder: Path, exported_folder: Path, tmp_path: Path
) -> None:
    push(exported_folder, URL)
    store.pipe_file("/models/gear/notes.txt", b"not ours")
    with pytest.raises(InputError, match=r"memory://models/gear: there is a model; .*--overwrite"):
        push(fitted_folder, URL)
    push(fitted_folder, URL, overwrite=True)
    assert names(store) == ["model.json", "model.safetensors", "notes.txt"]
    pull(URL, tmp_path / "model")
    assert contents(tmp_path / "model") == contents(fitted_folder)
    store.pipe_file("/models/gear/export.json", b"broken")
    push(fitted_folder, URL, overwrite=True)
    assert names(store) == ["model.json", "model.safetensors", "notes.txt"]


def test_half_a_push_is_no_model(
    store: MemoryFileSystem, fitted_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(fitted_folder, URL)
    put_file = MemoryFileSystem.put_file

    def cut_off(self: MemoryFileSystem, source: str, target: str, **more: Any) -> None:
        if target.endswith("model.json"):
            raise ConnectionError("the line is dead\nhere")
        put_file(self, source, target, **more)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryFileSystem, "put_file", cut_off)
        with pytest.raises(InputError, match=r"memory://models/gear: the line is dead here"):
            push(fitted_folder, URL, overwrite=True)
    with pytest.raises(InputError, match="no model there"):
        pull(URL, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    push(fitted_folder, URL)
    pull(URL, tmp_path / "model")


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_what_was_changed_on_the_way_is_not_taken(
    store: MemoryFileSystem, fitted_folder: Path, tmp_path: Path, name: str
) -> None:
    push(fitted_folder, URL)
    content = store.cat_file(f"/models/gear/{name}")
    store.pipe_file(f"/models/gear/{name}", content[:300] + b"0" + content[301:])
    with pytest.raises(InputError, match=rf"^memory://models/gear: .*{name}.*changed|not readable") as said:
        pull(URL, tmp_path / "model")
    assert "partial" not in str(said.value) and "\n" not in str(said.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "files",
    [{"../../escaped": "0"}, {"a/b": "0"}, {"": "0"}, {".bashrc": "0"}, {"c:\\x": "0"}, 7, None, [[]]],
)
def test_a_store_names_no_files_but_a_models(store: MemoryFileSystem, tmp_path: Path, files: Any) -> None:
    store.pipe_file("/models/gear/export.json", json.dumps({"files": files}).encode())
    with pytest.raises(InputError, match=r"export\.json does not name files as ours do"):
        pull(URL, tmp_path / "in" / "model")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_document_without_end_is_not_read(
    store: MemoryFileSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_store, "_LARGEST_DOCUMENT", 10)
    store.pipe_file("/models/gear/model.json", b"[" * 11)
    with pytest.raises(InputError, match=r"model\.json is larger than any of ours"):
        pull(URL, tmp_path / "model")


def test_the_commands_say_what_they_did(fitted_folder: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store/line-3/gear"
    pushed = as_json("push", fitted_folder, url, "--json")
    assert pushed["url"] == url and set(pushed) == {"url", "files", "bytes", "sha256"}
    said = run("pull", url, "--out", tmp_path / "model")
    assert f"{url} → {tmp_path / 'model'}: 2 files" in said.stdout
    assert contents(tmp_path / "model") == contents(fitted_folder)
    assert "there is a model" in refused("push", fitted_folder, url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense://user:secret@host/x?key=secret", "nonsense://host/x: Protocol not known: nonsense"),
        ("gs://bucket/x", "gs://bucket/x: .*gcsfs"),
        ("http://127.0.0.1:9/x", r"http://127\.0\.0\.1:9/x: "),
        ("file:///dev/null/x", "file:///dev/null/x: "),
    ],
)
def test_what_is_no_store_is_said_in_a_line(fitted_folder: Path, url: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as said:
        push(fitted_folder, url)
    assert "\n" not in str(said.value) and "secret" not in str(said.value)


def test_a_bucket_is_not_made_by_mistake(
    store: MemoryFileSystem, fitted_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryFileSystem, "_strip_protocol", classmethod(lambda kind, path: "bukket/gear"))
    with pytest.raises(InputError, match="bukket: no such bucket; make it first"):
        push(fitted_folder, URL)


def test_a_folder_that_is_no_model_is_not_pushed(store: MemoryFileSystem, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model here"):
        push(tmp_path, URL)
    assert names(store) == []
