"""Places outside this host that are told each new head of the ledger."""

from collector.outside.configured import tellers_from
from collector.outside.telling import Teller

__all__ = ["Teller", "tellers_from"]
