"""The one kind of error that is the user's to mend."""

from __future__ import annotations

import re

_SECRETS = re.compile(r"(?<=//)[^/@\s]*@|[?#].*")


class InputError(ValueError):
    """Something given from outside is wrong.

    The message is one line: what is wrong, where, and what to do about it. The command line prints it
    as it stands and exits with status 2; any other exception is a bug of ours.
    """


class NotLearnedError(InputError):
    """An image that was to be forgotten is not among those learned."""


class ImageWarning(UserWarning):
    """Something about one image that is read which its user would want to know, in one line."""


def without_secrets(address: str) -> str:
    """An address as people may see it: who signs in, and what is asked, are left out."""
    return _SECRETS.sub("", address)
