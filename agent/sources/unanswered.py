"""Statements that the kernel still keeps to itself when the probes go: their answer has not come.

One record tells a statement and its answer (``executions.bpf.h``), so until the answer the kernel
alone knows of it, in the state of its session. Without probes nobody would tell.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.probes.layout import FIELDS, STATEMENT, TEXT_URGENT, RecordKind, TextState, layout_of

STATE = layout_of("session_state")
_FIELDS = FIELDS["session_state"][1]
_NO_KEY = bytes(16)


def unanswered(states: Iterable[tuple[int, bytes]]) -> list[bytes]:
    """Records of their start, oldest first, as the probe would have sent them at its next hit.

    ``states``: the number of each process with its ``session_state``.
    """
    found = []
    for pid, raw in states:
        state = dict(zip(_FIELDS, STATE.unpack(raw), strict=True))
        if state["pending"]:
            found.append((state["started_ns"], _record(pid, state)))
    return [record for _, record in sorted(found)]


def untold_since_ns(raw: bytes) -> int:
    """When the statement started (monotonic) that only this ``session_state`` knows; 0: none."""
    state = dict(zip(_FIELDS, STATE.unpack(raw), strict=True))
    return state["started_ns"] if state["pending"] else 0


def _record(pid: int, state: dict[str, int]) -> bytes:
    known, length = state["text_id"], state["kept_bytes"]
    text = b"" if known else bytes(state["kept"])[:length]
    text_state = TextState.KNOWN if known else TextState.WHOLE
    head = STATEMENT.pack(
        RecordKind.STATEMENT,
        pid,
        state["started_ns"],
        state["session_us"],
        state["requested_us"],
        state["text_key"],
        _NO_KEY,
        0,
        0,
        len(text),
        length,
        known,
        state["row_limit"],
        state["naming"],
        state["protocol"],
        0,
        0,
        text_state | (TEXT_URGENT if state["urgent"] else 0),
        0,
        0,
        0,
        0,
        state["starts"],
        state["round"],
        state["continued"],
    )
    return head + text
