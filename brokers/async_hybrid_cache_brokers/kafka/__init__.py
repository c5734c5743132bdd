"""Apache Kafka: the log is one topic with one partition. There is no L2."""

from .broker import BROKER
from .bus import KafkaInvalidationBus
from .log import KafkaLog

__all__ = ["BROKER", "KafkaInvalidationBus", "KafkaLog"]
