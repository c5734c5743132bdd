"""Who may read in whose name: documents with one writer, leases on them, and slots."""

from .document import Document
from .lease import Lease, Standing
from .slots import Slot, claim_slot, slot_name
from .using import StoreUse

__all__ = ["Document", "Lease", "Slot", "Standing", "StoreUse", "claim_slot", "slot_name"]
