"""SQLAlchemy: a transactional outbox for its sessions and connections, async or not."""

from .outbox import SqlAlchemyOutbox

__all__ = ["SqlAlchemyOutbox"]
