"""The faults of the table, and where one cannot happen."""

from __future__ import annotations

__all__ = ["BROKERS", "FAULTS"]

BROKERS = ("sqlite", "redis", "nats", "kafka")

_NO_L2 = {"kafka": "has no L2"}

FAULTS: dict[str, dict[str, str]] = {
    "nothing fails": {},
    "one instance cut": {},
    "one instance stalled": {"sqlite": "has no connection"},
    "server killed, or file locked": {},
    "server frozen, or file locked": {},
    "log away, an error wanted": {},
    "log away, outbox full": {},
    "log away, process killed": {},
    "server back empty": {"sqlite": "has no server"},
    "leader lost": {"sqlite": "is one file"},
    "log trimmed": {},
    "log deleted": {},
    "older copy restored": {},
    "record that is no frame": {},
    "event told twice": {},
    "process killed": {},
    "process killed before it removes": {},
    "process frozen": {},
    "load under way": {},
    "load past its timeout": {},
    "refresh under way": {},
    "copy from L2 under way": _NO_L2,
    "set under way": {},
    "snapshot older than a removal": {},
    "L2 away": {},
    "L2 away, process killed": _NO_L2,
    "value in L2 that is no value": _NO_L2,
    "very many keys": {},
    "very many events": {},
}
"""By fault, in the order of the tables: the brokers where it cannot happen, and why."""
