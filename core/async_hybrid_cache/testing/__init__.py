"""The contracts that every broker passes, shipped so that authors of other brokers can run them.

Needs pytest. Inherit `LogContract` for an `EventLog` and give it a fixture `world` that returns your `LogWorld`;
inherit `DistributedContract` and `DistributedConcurrencyContract` for a `DistributedCache`, with a
`DistributedWorld`; inherit `CheckpointStoreContract` for a `CheckpointStore`, with a `CheckpointWorld`.
"""

from .checkpoint_contract import CheckpointStoreContract
from .distributed_concurrency import DistributedConcurrencyContract
from .distributed_contract import DistributedContract
from .log_contract import LogContract
from .log_world import WRONG_PASSWORD, LogWorld, Server, Wire
from .waiting import eventually
from .worlds import CheckpointWorld, DistributedWorld

__all__ = [
    "WRONG_PASSWORD",
    "CheckpointStoreContract",
    "CheckpointWorld",
    "DistributedConcurrencyContract",
    "DistributedContract",
    "DistributedWorld",
    "LogContract",
    "LogWorld",
    "Server",
    "Wire",
    "eventually",
]
