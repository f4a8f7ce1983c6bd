"""Images in stores: listed folder by folder, read like files, and one line for whatever a store refuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from anomalyvfm.data import ImageError, read_source
from anomalyvfm.data.sources import describe, several, source_names
from anomalyvfm.data.stores import StoreImage, images_at, is_address
from anomalyvfm.errors import InputError
from anomalyvfm.presets import ImageSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one of them below, and a file that is none."""
    place = tmp_path / "good ones"
    (place / "lot").mkdir(parents=True)
    for number, name in enumerate(("10.png", "9.png", "lot/1.png")):
        Image.new("RGB", (64, 48), (40 * number, 0, 0)).save(place / name)
    (place / "notes.txt").write_text("none")
    return place


@pytest.fixture
def memory(folder: Path) -> Iterator[str]:
    store = MemoryFileSystem()
    for path in folder.rglob("*"):
        if path.is_file():
            store.pipe_file(f"/good/{path.relative_to(folder)}", path.read_bytes())
    yield "memory://good"
    store.rm("/good", recursive=True)


def test_images_are_listed_in_natural_order_and_read_like_files(memory: str, folder: Path) -> None:
    for address in (memory, f"file://{folder}"):
        found = list(images_at(address))
        assert [image.name for image in found] == ["9.png", "10.png", "1.png"]
        assert source_names(found) == ["9.png", "10.png", "lot/1.png"]
        for image, name in zip(found, ("9.png", "10.png", "lot/1.png"), strict=True):
            pixels = read_source(image, ImageSettings())
            assert np.array_equal(pixels, read_source(folder / name, ImageSettings()))
            assert np.array_equal(pixels, read_source(image.address, ImageSettings()))
        assert several(address) == found


def test_one_image_and_a_pattern_are_taken_as_they_are(memory: str) -> None:
    assert [image.name for image in images_at(f"{memory}/lot/1.png")] == ["1.png"]
    assert [image.name for image in images_at(f"{memory}/1*.png")] == ["10.png", "1.png"]


def test_listing_goes_on_only_as_far_as_images_are_asked_for(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    plain = MemoryFileSystem.ls

    def ls(self: MemoryFileSystem, path: str, *given: object, **named: object) -> object:
        listed.append(path)
        return plain(self, path, *given, **named)

    monkeypatch.setattr(MemoryFileSystem, "ls", ls)
    images = images_at(memory)
    next(images)
    assert not any(path.endswith("lot") for path in listed)
    assert len(list(images)) == 2
    assert any(path.endswith("lot") for path in listed)


def test_what_a_store_does_not_give_is_one_line(memory: str) -> None:
    with pytest.raises(ImageError, match=r"^memory://good/gone\.png: .*gone"):
        read_source(StoreImage("memory://good/gone.png"), ImageSettings())
    with pytest.raises(InputError, match=r"^memory://nowhere: no images there"):
        list(images_at("memory://nowhere"))
    with pytest.raises(InputError, match=r"^nosuch://x: .*nosuch"):
        list(images_at("nosuch://x"))


def test_a_store_that_wants_credentials_says_how_they_are_given(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(MemoryFileSystem, "ls", refuse)
    with pytest.raises(InputError, match=r"^memory://good: Access Denied; sign in .*AWS_ACCESS_KEY_ID"):
        list(images_at(memory))


def test_secrets_in_an_address_are_not_told() -> None:
    image = StoreImage("https://eve:secret@server/a%20b/1.png?sig=secret")
    assert str(image) == describe(image) == describe(image.address) == "https://server/a%20b/1.png"
    assert (image.stem, str(image.path)) == ("1", "/server/a b/1.png")
    assert not is_address("a/b.png") and not is_address(Path("a")) and is_address("s3://b/k")


@pytest.mark.skipif(find_spec("aiohttp") is None, reason="fsspec reads the web by aiohttp")
def test_a_web_server_with_an_index_is_a_store(folder: Path) -> None:
    handler = partial(_Quiet, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/"
    found = list(images_at(address))
    assert source_names(found) == ["9.png", "10.png", "lot/1.png"]
    assert read_source(found[2], ImageSettings())[0, 0].tolist() == [80, 0, 0]
    server.shutdown()
    server.server_close()
    thread.join()
    with pytest.raises(InputError, match=r"^http://127\.0\.0\.1"):
        list(images_at(address))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass
