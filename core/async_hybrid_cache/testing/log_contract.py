"""The one contract of every `EventLog`, and of the caches on it."""

from __future__ import annotations

from async_hybrid_cache.testing.log_basics import LogBasics
from async_hybrid_cache.testing.log_cancellation import LogCancellation
from async_hybrid_cache.testing.log_credentials import LogCredentials
from async_hybrid_cache.testing.log_epochs import LogEpochs
from async_hybrid_cache.testing.log_load import LogLoad
from async_hybrid_cache.testing.log_loss import LogLoss
from async_hybrid_cache.testing.log_server import LogServer
from async_hybrid_cache.testing.stream_losses import StreamLosses
from async_hybrid_cache.testing.stream_outages import StreamOutages
from async_hybrid_cache.testing.stream_staleness import StreamStaleness

__all__ = ["LogContract"]


class LogContract(
    LogBasics,
    LogEpochs,
    LogLoad,
    LogCancellation,
    LogLoss,
    LogServer,
    LogCredentials,
    StreamLosses,
    StreamOutages,
    StreamStaleness,
):
    """All rows. A broker's test class inherits this and has a fixture `world`, which returns its `LogWorld`."""
