"""The contracts that every broker passes, shipped so that authors of other brokers can run them.

Needs pytest. Inherit `LogContract` and `LogCancellationContract` for an `EventLog`, `DistributedContract` and
`DistributedConcurrencyContract` for a `DistributedCache`, and give them a `world` fixture.
"""

from .distributed_concurrency import DistributedConcurrencyContract
from .distributed_contract import DistributedContract
from .log_cancellation import LogCancellationContract
from .log_contract import LogContract
from .waiting import eventually
from .worlds import DistributedWorld, LogWorld

__all__ = [
    "DistributedConcurrencyContract",
    "DistributedContract",
    "DistributedWorld",
    "LogCancellationContract",
    "LogContract",
    "LogWorld",
    "eventually",
]
