"""Where identities come from: addresses, networks and programs, and how often any were new.

Kept for each identity and for its peers (all of its kind on one server): what they used before,
and on how many days something new came. A new place is the stranger the farther it is from what is
known, in LEVELS; the rate of days with such a level or a stranger one, by the start of today,
filled up from the peers, gives the bits. So a service that scales out on every other day does not
surprise by another host, and one that never moved does.
"""

from analytics.places.levels import ADDRESS_LEVELS, FIRST_LOGIN_LEVEL
from analytics.places.moves import Moved, observe, split, visits
from analytics.places.rows import (
    KEY,
    LEVELS,
    VALUES,
    clock_rows,
    filled,
    said_today,
    with_said,
)

__all__ = [
    "ADDRESS_LEVELS",
    "FIRST_LOGIN_LEVEL",
    "KEY",
    "LEVELS",
    "VALUES",
    "Moved",
    "clock_rows",
    "filled",
    "observe",
    "said_today",
    "split",
    "visits",
    "with_said",
]
