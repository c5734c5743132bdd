"""The outbox on disk."""

from .journal import Journal, Recovered

__all__ = ["Journal", "Recovered"]
