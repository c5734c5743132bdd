"""PostgreSQL: checkpoints and a transactional outbox, both inside the caller's own transaction."""

from .broker import BROKER
from .checkpoints import PostgresCheckpointStore
from .outbox import PostgresOutbox

__all__ = ["BROKER", "PostgresCheckpointStore", "PostgresOutbox"]
