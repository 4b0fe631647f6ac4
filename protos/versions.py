"""Which protocol an agent and a collector speak, where they are not of one release.

Fields are only ever added, and what one side does not know it skips; a number changes when a side
must know whether the other one understands something. 0: before numbers. 1: heads of the ledger are
co-signed.
"""

PROTOCOL = 1
OLDEST = 0
COSIGNING = 1


class ProtocolError(Exception):
    """The two have no protocol in common; the message says who must be upgraded."""


def spoken(newest: int, oldest: int) -> int:
    """What to speak with a peer that knows ``oldest`` to ``newest``. Raises ProtocolError."""
    if newest < OLDEST:
        raise ProtocolError(
            f"the agent speaks protocol {newest}, this collector {OLDEST} and"
            " newer: upgrade the agent"
        )
    if oldest > PROTOCOL:
        raise ProtocolError(
            f"the agent speaks protocol {oldest} and newer, this collector"
            f" {PROTOCOL}: upgrade the collector"
        )
    return min(newest, PROTOCOL)
