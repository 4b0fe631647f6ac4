"""Which functions a plan calls that did not come with the server: extensions' and one's own.

``PlannedStmt.invalItems`` is there so that a cached plan is made anew when one of them changes. It
names each by the hash of its oid in the server's catalog cache, and this hash can be undone. What a
function in SQL calls is among them once the server has put that function into the plan.
"""

from __future__ import annotations

import struct

from agent.guard.plan_memory import List, PlanMemory

FIRST_OWN = 16384
"""FirstNormalObjectId: what initdb made has lower ones (information_schema)."""
ITEM_BYTES = 12
_item = struct.Struct("<iiI")
"""A PlanInvalItem: tag, which cache, hash."""
_WORD = 0xFFFFFFFF
_FACTORS = 0x85EBCA6B, 0xC2B2AE35
"""Of murmurhash32, which makes the hash: ``common/hashfn.h``, the same in every version."""
_UNDOING = tuple(pow(factor, -1, 1 << 32) for factor in reversed(_FACTORS))


def find_functions(memory: PlanMemory, items: List, most: int) -> list[int]:
    """Oids, of the first ``most`` items. Raises what PlanMemory raises."""
    [addresses] = memory.cells([(items, most)])
    found = []
    for raw in memory.read([(address, ITEM_BYTES) for address in addresses]):
        _, cache, number = _item.unpack(raw)
        oid = undone(number)
        if cache == memory.layout.function_cache and oid >= FIRST_OWN:
            found.append(oid)
    return found


def undone(number: int) -> int:
    """What has this hash.

    >>> undone(hashed(16401))
    16401
    """
    number ^= number >> 16
    number = number * _UNDOING[0] & _WORD
    number ^= number >> 13 ^ number >> 26
    number = number * _UNDOING[1] & _WORD
    return number ^ number >> 16


def hashed(number: int) -> int:
    """murmurhash32."""
    number ^= number >> 16
    number = number * _FACTORS[0] & _WORD
    number ^= number >> 13
    number = number * _FACTORS[1] & _WORD
    return number ^ number >> 16
