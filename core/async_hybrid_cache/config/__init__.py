"""Configuration by file, environment or mapping."""

from .configuration import Configuration, read_configuration
from .source import Source

__all__ = ["Configuration", "Source", "read_configuration"]
