"""Everything outside the instances, in one place."""

from __future__ import annotations

import random
from pathlib import Path

from .database import Database
from .history import History
from .l2 import SharedStore
from .log import SharedLog
from .loop import VirtualLoop
from .plan import Plan
from .positions import PositionServer
from .subscribers import Subscribers

__all__ = ["Servers"]


class Servers:
    """The log, L2, the database, the store of positions, and the history of it all."""

    def __init__(self, plan: Plan, loop: VirtualLoop, folder: Path) -> None:
        self.plan, self.loop, self.folder = plan, loop, folder
        self.history = History(loop.time, lambda: self.log.epoch)
        self.log = SharedLog(loop.time, self.history.appended, self.history.lost)
        self.store = SharedStore()
        self.database = Database(random.Random(f"{plan.seed} database"))
        self.positions = PositionServer()
        self.subscribers = Subscribers(loop.time, self.log.ids, self.history, self.positions)
