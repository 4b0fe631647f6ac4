"""Who has room in the spool, and from when on it is short of it. Pure."""

from collections.abc import Sequence

from agent.wire import MAX_PAYLOAD_BYTES, Payload

RESERVED_SHARE = 1 / 8
"""Share of the spool that only priority batches may use."""
PRESSED_SHARE = 1 / 2
"""Full so far, what is urgent must come in batches of its own."""


def admit(
    payloads: Sequence[Payload], used_bytes: int, max_bytes: int
) -> tuple[list[Payload], list[Payload]]:
    """Those that fit and those that do not, in their order."""
    accepted, refused = [], []
    for payload in payloads:
        if len(payload.body) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"a payload of {len(payload.body)} bytes: build it smaller")
        share = 1.0 if payload.priority else 1 - RESERVED_SHARE
        if used_bytes + len(payload.body) > max_bytes * share:
            refused.append(payload)
            continue
        accepted.append(payload)
        used_bytes += len(payload.body)
    return accepted, refused


def pressed_from(max_bytes: int, largest_bytes: int) -> float:
    """What comes next is built by then, and may be as large as anything before: it must fit."""
    most = max_bytes * (1 - RESERVED_SHARE) - 2 * largest_bytes
    return min(most, max_bytes * PRESSED_SHARE)
