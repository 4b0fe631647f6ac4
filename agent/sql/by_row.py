"""What a condition is for the rows that it is asked about."""

from enum import Enum


class Truth(Enum):
    """``ALIKE``: not known, but the same for all rows, so it chooses none of them."""

    TRUE = True
    FALSE = False
    ALIKE = "alike"
    BY_ROW = "by_row"


TRUE, FALSE, ALIKE, BY_ROW = Truth.TRUE, Truth.FALSE, Truth.ALIKE, Truth.BY_ROW
