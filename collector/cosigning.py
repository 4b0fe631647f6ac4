"""Heads that agents sign too: each gets the newest head and what has grown since the one it knows.

``cosignatures.jsonl`` has the newest signature of each agent; what an agent signed it also keeps
itself, where nobody reaches it from here.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from collector.heads import key_id
from collector.ledger import fsync_folder
from collector.ledger_reading import NAME as LEDGER
from collector.pgwarden_verify import (
    AGENT,
    BAD,
    COSIGN_CONTEXT,
    COSIGNED,
    COSIGNERS,
    canonical,
    signed_head,
)
from collector.successions import successions
from model.merkle import Tree, leaf_hash
from protos.pgwarden.v1 import uplink_pb2 as pb
from protos.versions import COSIGNING

RECENT_LEAVES = 65_536
"""Kept in memory, 2 MB; for an agent that was away for longer the ledger is read."""
MESSAGE_LEAVES = 50_000
COSIGN_SECONDS = 300.0
MAX_REASON = 300
KEY_SECONDS = 3_600.0
"""So seldom an agent may come with another key: each is kept for good, and noted."""

_log = logging.getLogger(__name__)

Note = Callable[..., None]
Tell = Callable[[str, pb.CollectorMessage], None]


class Cosigning:
    """Thread-safe. ``head``: the newest signed line, empty before the first one."""

    def __init__(
        self,
        data_dir: Path,
        tip: tuple[Tree, int],
        ledger_key: bytes,
        head: Callable[[], bytes],
        note: Note,
        seconds: float = COSIGN_SECONDS,
    ) -> None:
        """``tip``: the ledger's tree and its bytes, before anything is appended; ``note`` is
        ``Store.note_change``."""
        self._data_dir = data_dir
        self._tree, self._offset = tip
        self._recent: deque[bytes] = deque(maxlen=RECENT_LEAVES)
        self._ledger_key = ledger_key
        self._successions = successions(data_dir)
        self._head = head
        self._note = note
        self._seconds = seconds
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        """How far each agent that can sign has come."""
        self._hellos: dict[str, pb.Hello] = {}
        self._asked_at = time.monotonic()
        self._lines = self._kept()
        self._new_keys: dict[str, float] = {}
        """When each agent last came with one."""
        self.cosigned = 0
        """Entries under the newest head that an agent has signed since the start."""
        self.refusals: dict[str, str] = {}
        """Why agents do not sign, by agent."""

    def greet(self, hello: pb.Hello) -> list[pb.CollectorMessage]:
        """For an agent that has connected."""
        if hello.protocol < COSIGNING:
            return []
        with self._lock:
            self._hellos[hello.agent] = hello
            self._sizes[hello.agent] = hello.witness_size
            return list(self._messages(hello.witness_size))

    def gone(self, hello: pb.Hello) -> None:
        """Its stream has ended; a newer one may be there already."""
        with self._lock:
            if self._hellos.get(hello.agent) is hello:
                del self._hellos[hello.agent]
                self._sizes.pop(hello.agent, None)

    def turn(self, tell: Tell) -> None:
        """Now and then: ask everybody who is connected."""
        if time.monotonic() - self._asked_at < self._seconds:
            return
        self._asked_at = time.monotonic()
        with self._lock:
            asked = [(name, list(self._messages(size))) for name, size in self._sizes.items()]
        for name, messages in asked:
            for message in messages:
                tell(name, message)

    def answered(self, agent: str, witnessed: pb.Witnessed) -> None:
        """A signature is kept once it is verified; a refusal is an entry of the ledger."""
        if witnessed.refused:
            reason = witnessed.refused[:MAX_REASON]
            if self.refusals.get(agent) != reason:
                _log.error("%s does not sign the ledger's head: %s", agent, reason)
                self._note("cosigning_refused", agent=agent, reason=reason)
            self.refusals[agent] = reason
            return
        try:
            key = Ed25519PublicKey.from_public_bytes(witnessed.key)
            outer = signed_head(witnessed.line, {AGENT + key_id(key): key}, COSIGN_CONTEXT, AGENT)
            ours = Ed25519PublicKey.from_public_bytes(self._ledger_key)
            head = signed_head(canonical(outer["head"]), {key_id(ours): ours})
        except ValueError as error:
            _log.error("what %s sent is no signature of a head: %s", agent, error)
            return
        if outer.get("agent") != agent:
            _log.error("%s sent a signature of somebody else", agent)
            return
        with self._lock:
            self._sizes[agent] = int(head["size"])
            if self._keep(agent, witnessed.line, key):
                self.refusals.pop(agent, None)
                self.cosigned = max(self.cosigned, int(head["size"]))

    def _messages(self, size: int) -> Iterator[pb.CollectorMessage]:
        line = self._head()
        head_size = _size(line)
        if not line or not head_size:
            return
        self._advance(head_size)
        if self._tree.size != head_size:
            return  # a newer head is being written: the next turn has it
        if not size:
            peaks = b"".join(self._tree.peaks)
            yield self._message(line, head_size, peaks=peaks)
            return
        leaves = list(self._leaves(size, head_size)) if size < head_size else []
        at = min(size, head_size)
        while len(leaves) > MESSAGE_LEAVES:
            yield self._message(b"", at, leaves[:MESSAGE_LEAVES])
            at, leaves = at + MESSAGE_LEAVES, leaves[MESSAGE_LEAVES:]
        yield self._message(line, at, leaves)

    def _message(
        self, line: bytes, from_size: int, leaves: list[bytes] | None = None, peaks: bytes = b""
    ) -> pb.CollectorMessage:
        return pb.CollectorMessage(
            head=pb.Head(
                line=line,
                from_size=from_size,
                leaves=b"".join(leaves or ()),
                peaks=peaks,
                ledger_key=self._ledger_key,
                successions=self._successions,
            )
        )

    def _advance(self, size: int) -> None:
        """Read the ledger on, up to that many entries."""
        if self._tree.size >= size:
            return
        with (self._data_dir / LEDGER).open("rb") as file:
            file.seek(self._offset)
            while self._tree.size < size and (line := file.readline()).endswith(b"\n"):
                leaf = leaf_hash(line[:-1])
                self._tree.append(leaf)
                self._recent.append(leaf)
                self._offset += len(line)

    def _leaves(self, first: int, last: int) -> Iterator[bytes]:
        begins = self._tree.size - len(self._recent)
        if first >= begins:
            yield from islice(self._recent, first - begins, last - begins)
            return
        with (self._data_dir / LEDGER).open("rb") as file:
            for line in islice(file, first, last):
                yield leaf_hash(line.removesuffix(b"\n"))

    def _kept(self) -> dict[str, bytes]:
        """By agent. A damaged file is what the verifier tells of; here it is begun anew."""
        found: dict[str, bytes] = {}
        file = self._data_dir / COSIGNED
        for line in file.read_bytes().split(b"\n") if file.exists() else ():
            try:
                found[str(json.loads(line)["agent"])] = line
            except BAD:
                continue
        return found

    def _may_change(self, agent: str) -> bool:
        now = time.monotonic()
        if now - self._new_keys.get(agent, -KEY_SECONDS) < KEY_SECONDS:
            reason = "it signs with yet another key, which counts an hour after the last one"
            if self.refusals.get(agent) != reason:
                _log.error("%s: %s", agent, reason)
            self.refusals[agent] = reason
            return False
        self._new_keys[agent] = now
        return True

    def _keep(self, agent: str, line: bytes, key: Ed25519PublicKey) -> bool:
        """Whether the signature counts."""
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        try:
            file = self._data_dir / COSIGNERS
            known = file.read_bytes() if file.exists() else b""
            if pem not in known:
                if not self._may_change(agent):
                    return False
                _replace(file, known + pem)
                self._note("cosigner", agent=agent, key=key_id(key))
            self._lines[agent] = line
            whole = b"".join(each + b"\n" for _, each in sorted(self._lines.items()))
            _replace(self._data_dir / COSIGNED, whole)
        except OSError as error:
            _log.error("a signature cannot be kept: %s", error)
        return True


def _size(line: bytes) -> int:
    try:
        fields: dict[str, Any] = json.loads(line)
        return int(fields["size"])
    except BAD:
        return 0


def _replace(file: Path, data: bytes) -> None:
    """Whole or not at all."""
    part = file.with_name(f"{file.name}.part")
    with part.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    part.replace(file)
    fsync_folder(file.parent)
