"""Who has room in the spool, and how much of it is for what is not sorted by class. Pure."""

from collections.abc import Sequence

from agent.wire.batch import MAX_PAYLOAD_BYTES, Payload

RESERVED_SHARE = 1 / 8
"""Share of the spool that only priority batches may use."""
MIXED_SHARE = 1 / 2
"""Share of it for batches in which what is urgent lies among the rest."""


def admit(
    payloads: Sequence[Payload], used_bytes: int, max_bytes: int
) -> tuple[list[Payload], list[Payload]]:
    """Those that fit and those that do not, in their order. What has room of its own takes none
    from the others in the same append, which may have something urgent in them."""
    fit: set[int] = set()
    for priority, share in ((False, 1 - RESERVED_SHARE), (True, 1.0)):
        for index, payload in enumerate(payloads):
            if len(payload.body) > MAX_PAYLOAD_BYTES:
                raise ValueError(f"a payload of {len(payload.body)} bytes: build it smaller")
            if payload.priority is priority and (
                used_bytes + len(payload.body) <= max_bytes * share
            ):
                fit.add(index)
                used_bytes += len(payload.body)
    return (
        [payload for index, payload in enumerate(payloads) if index in fit],
        [payload for index, payload in enumerate(payloads) if index not in fit],
    )


def mixed_room(used_bytes: int, max_bytes: int) -> int:
    """So much is sure to fit, urgent or not; what is beyond it must come in batches by class."""
    return max(0, int(max_bytes * MIXED_SHARE) - used_bytes)
