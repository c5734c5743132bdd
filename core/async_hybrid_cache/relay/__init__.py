"""The transactional outbox: events written in the caller's own transaction, sent to the log after its commit."""

from .relay import OutboxRelay
from .table import Kind, OutboxTable, Row

__all__ = ["Kind", "OutboxRelay", "OutboxTable", "Row"]
