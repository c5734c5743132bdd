"""What every part on PostgreSQL checks before, and says after: URLs, tables, failures."""

from __future__ import annotations

import re

import asyncpg  # type: ignore[import-untyped]

from async_hybrid_cache.errors import ConfigurationError

__all__ = ["FAILURES", "checked_url", "quoted", "told"]

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError)
"""What asyncpg raises."""


def checked_url(url: str) -> str:
    """`url`, where it is PostgreSQL's; raises `ConfigurationError` without repeating it."""
    if not isinstance(url, str) or not url.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError("a PostgreSQL URL begins with postgresql://, e.g. 'postgresql://localhost/app'")
    return url


def quoted(table: str) -> str:
    """The SQL for `table` or `schema.table`; raises `ConfigurationError` for anything else."""
    if not re.fullmatch(r"[A-Za-z_]\w{0,62}(\.[A-Za-z_]\w{0,62})?", table, re.ASCII):
        raise ConfigurationError(f"table must be a name of letters, digits and '_', not {table!r}")
    return ".".join(f'"{part}"' for part in table.split("."))


def told(table: str, error: BaseException) -> str:
    """What a failure is called: the server's own words name tables and users, the client's may repeat the URL."""
    words = str(error) if isinstance(error, asyncpg.PostgresError) else type(error).__name__
    return f"PostgreSQL, table {table!r}: {words or 'no answer in time'}"
