"""Passwords and certificates, from files of their own: a line's settings are for everybody to read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from anomalyvfm.errors import InputError

if TYPE_CHECKING:
    import ssl


def read_password(path: Path | None) -> str | None:
    """What a file says, without the end of its line; None for no file. Raises InputError."""
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: no password can be read there ({error})") from None


def trusting(ca_file: Path) -> ssl.SSLContext:
    """TLS that believes these certificates alone. Raises InputError."""
    import ssl

    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"{ca_file}: no certificates can be read there ({error})") from None
