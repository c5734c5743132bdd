"""What brokers share in taking their URLs apart."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import parse_qsl

from .errors import ConfigurationError

__all__ = ["url_options"]


def url_options(scheme: str, query: str, known: Collection[str], *, escape: str) -> dict[str, str]:
    """What stands after the `?` of a `scheme` URL; `escape` says how a `?` in a password is written.

    Raises `ConfigurationError` for an option that is not `known`, or is empty. No value is repeated there, and nothing
    that could not be a name: both could be a part of the password.
    """
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in options.items():
        if not re.fullmatch(r"[a-z_]{1,30}", name):
            raise ConfigurationError(f"the {scheme}:// URL has something after '?' that is no option; {escape}")
        if name not in known:
            raise ConfigurationError(
                f"the {scheme}:// URL has an unknown option {name!r}; known: {', '.join(sorted(known))}"
            )
        if not value:
            raise ConfigurationError(f"the option {name!r} of the {scheme}:// URL is empty")
    return options
