"""How much an agent may say of itself: the ledger keeps it, every operator is shown it, and what it
counts is added to what others do."""

from __future__ import annotations

from protos.pgwarden.v1 import uplink_pb2 as pb

HELLO = {"version": 64, "host": 255, "boot_id": 64, "instance": 64}
STATUS = {"capture": 16, "guard_mode": 16, "rules_digest": 128}
"""Characters, by field."""
SETTINGS, SETTING_CHARACTERS, DIGEST_CHARACTERS = 1_000, 120, 64
SENTENCES = 50
SENTENCE_CHARACTERS = 1_000
MOST_LOST = 1 << 40
"""That one row of losses may count: a million of them still fit a sum of 64 bits."""
MOST_BATCHES = 1 << 53
"""A number of a batch that an agent can have come to."""


def cut_hello(hello: pb.Hello) -> pb.Hello:
    """The same message, shortened in place."""
    hello.acknowledged = min(hello.acknowledged, MOST_BATCHES)
    for field, most in HELLO.items():
        setattr(hello, field, getattr(hello, field)[:most])
    settings = sorted(hello.configuration.items())[:SETTINGS]
    hello.configuration.clear()
    for name, digest in settings:
        hello.configuration[name[:SETTING_CHARACTERS]] = digest[:DIGEST_CHARACTERS]
    return hello


def cut_status(status: pb.Status) -> pb.Status:
    """The same message, shortened in place; what is left out is counted in it."""
    for field, most in STATUS.items():
        setattr(status, field, getattr(status, field)[:most])
    sentences = [each[:SENTENCE_CHARACTERS] for each in status.degraded[:SENTENCES]]
    more = len(status.degraded) - len(sentences)
    del status.degraded[:]
    status.degraded.extend([*sentences, *([f"and {more} more"] if more else [])])
    return status
