"""Images in stores of objects or files elsewhere, by any address that fsspec knows: s3://, gs://, https://.

fsspec's drivers (s3fs, gcsfs, sshfs, …) are installed by those who use them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeAlias, TypeGuard
from urllib.parse import unquote, urlsplit

from anomalyvfm.data.pixels import ImageError
from anomalyvfm.errors import InputError, without_secrets

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# No image is larger; what a store sends beyond is not kept.
_LARGEST = 1 << 30


def is_address(text: object) -> TypeGuard[str]:
    """Whether it names a place in a store, not a path here."""
    return isinstance(text, str) and "://" in text


@dataclass(frozen=True)
class StoreImage:
    """An image in a store, fetched whenever it is read."""

    address: str

    def __str__(self) -> str:
        return without_secrets(self.address)

    @property
    def path(self) -> Path:
        """The address as a path, for names."""
        split = urlsplit(self.address)
        return Path("/", split.netloc.rpartition("@")[2], unquote(split.path).lstrip("/"))

    @property
    def name(self) -> str:
        """That of the file."""
        return self.path.name

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return self.path.stem

    def seekable(self) -> bool:
        return False

    def read(self) -> bytes:
        """The file's bytes. Raises ImageError where the store does not give them."""
        try:
            with opened(self.address) as (store, place), store.open(place, "rb") as stream:
                content: bytes = stream.read(_LARGEST + 1)
        except InputError as error:
            raise ImageError(str(error)) from None
        if len(content) > _LARGEST:
            raise ImageError(f"{self}: larger than any image")
        return content


ImageFile: TypeAlias = Path | StoreImage
"""An image that is a file, here or in a store."""


def images_at(address: str) -> Iterator[StoreImage]:
    """The images at an address or below it, as they are listed; of one that ends in a pattern, those it fits.

    Folder by folder, in natural order. Raises InputError where the store cannot be reached or refuses, and
    where no image is there.
    """
    from anomalyvfm.data.datasets.listing import natural_key
    from anomalyvfm.data.reading import SUFFIXES

    root, _, pattern = address.rpartition("/")
    if "*" not in pattern:
        root, pattern = address, "*"
    none = True
    with opened(root) as (store, place):
        if PurePosixPath(place).suffix.lower() in SUFFIXES and not store.isdir(place):
            yield StoreImage(address)
            return
        with suppress(FileNotFoundError):
            for folder, _, files in store.walk(place, on_error="raise"):
                for name in sorted(files, key=natural_key):
                    fits = PurePosixPath(name).suffix.lower() in SUFFIXES and fnmatch(name, pattern)
                    if fits and not name.startswith("."):
                        none = False
                        yield StoreImage(store.unstrip_protocol(f"{folder}/{name}"))
        if none:
            kinds = " ".join(sorted(SUFFIXES))
            raise InputError(
                f"{without_secrets(address)}: no images there ({kinds}); check the address, and whether"
                " the store lets you list it"
            )


@contextmanager
def opened(address: str) -> Iterator[tuple[AbstractFileSystem, str]]:
    """The store behind an address and the place in it; whatever its driver raises becomes one line."""
    from fsspec.core import url_to_fs

    try:
        store, place = url_to_fs(address)
        yield store, place.rstrip("/")
    except (InputError, GeneratorExit):
        raise
    except Exception as error:  # each driver has errors of its own
        said = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, PermissionError) or "credentials" in said.lower():
            said += "; sign in as its driver has it, for S3 by AWS_ACCESS_KEY_ID and its secret"
        raise InputError(f"{without_secrets(address)}: {without_secrets(said)}") from None
