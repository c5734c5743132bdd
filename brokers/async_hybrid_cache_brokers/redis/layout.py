"""How keys, stamps and entries look on the server; the scripts know the other half."""

from __future__ import annotations

from async_hybrid_cache.distributed import Hit
from async_hybrid_cache.positions import Position

__all__ = ["clears_key", "entry_key", "hit", "millis", "scope_field", "stamp_digits", "utf8"]

_LONGEST = 10 * 366 * 86_400_000  # milliseconds; the server refuses a time to live that overflows


def utf8(text: str) -> bytes:
    """`text` as the server keeps it, whatever encoding the client was given."""
    return text.encode("utf-8", "surrogatepass")


def clears_key(prefix: str) -> bytes:
    """The hash of generations."""
    return utf8(f"{prefix}:clears")


def entry_key(prefix: str, scope: str, key: str) -> bytes:
    """The key of an entry or a lease. With its colons escaped, a scope ends where the key begins."""
    scope = scope.replace("%", "%25").replace(":", "%3A")
    return utf8(f"{prefix}:{scope}:{key}")


def scope_field(scope: str | None) -> bytes:
    """The field of a scope, or (None) of all, in the hash of generations."""
    return b"" if scope is None else utf8(f":{scope}")


def stamp_digits(stamp: Position) -> bytes:
    """Forty digits that compare as positions do."""
    return b"%020d%020d" % stamp


def millis(seconds: float) -> int:
    """A time to live, of at least a millisecond."""
    return max(1, round(min(seconds * 1000, _LONGEST)))


def hit(entry: bytes, now: int) -> Hit:
    """An entry: `V`, then 20 digits each of generation, expiry in ms, stamp's epoch and offset; then the data."""
    stamp = Position(int(entry[41:61]), int(entry[61:81]))
    return Hit(entry[81:], stamp, max(0, int(entry[21:41]) - now) / 1000)
