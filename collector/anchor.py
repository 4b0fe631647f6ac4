"""From which head a start goes on: the newest that our own key signed, whatever else is there.

Nothing in the data directory says whose key is ours: ``ledger.pub``, ``successions.jsonl`` and the
lines of ``heads.jsonl`` can be written by anybody who can write the disk. The private key's own
file says it, and the one beside it, for the moment in which a new key has signed nothing yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from collector.heads import NAME as HEADS
from collector.heads import PUBLIC_NAME, HeadsError, key_id
from collector.ledger_reading import NAME, backwards, last_line
from collector.pgwarden_verify import public_keys, signed_head

Keys = Mapping[str, Ed25519PublicKey]


@dataclass(frozen=True, slots=True)
class Anchor:
    head: Mapping[str, Any] | None
    """The newest that counts; None: there is none."""
    keys: Keys
    """That may have signed the entries after it."""
    foreign: tuple[bytes, ...] = ()
    """Lines of heads after it, in their order."""
    problem: str = ""


def predecessor_file(key_file: Path) -> Path:
    """Public halves of keys that ours replaced, until it has signed a head itself."""
    return key_file.with_name(f"{key_file.name}.before")


def find_anchor(data_dir: Path, ours: Ed25519PublicKey, key_file: Path, is_new_key: bool) -> Anchor:
    """Raises HeadsError, OSError."""
    own = {key_id(ours): ours}
    if found := _newest(data_dir, own):
        return _anchor(found, own)
    known = _keys_of(predecessor_file(key_file))
    if is_new_key:
        known = {**_keys_of(data_dir / PUBLIC_NAME), **known}  # a lost key named nobody
    if known and (found := _newest(data_dir, known)):
        head, _ = found
        return _anchor(found, {**own, head["key"]: known[head["key"]]})
    if not last_line(data_dir / NAME) or is_new_key:
        return Anchor(None, own)
    is_empty = not last_line(data_dir / HEADS)
    what = "is empty or gone" if is_empty else "has no head of our key"
    return Anchor(None, own, tuple(_lines(data_dir)), f"{HEADS} {what}, the ledger is not empty")


def refusal(data_dir: Path, ours: Ed25519PublicKey, key_file: Path) -> HeadsError:
    """Nothing that is there is ours: a signature of ours would make it so."""
    return HeadsError(
        f"{data_dir}: its ledger is not of this collector: neither a head nor an entry is signed by"
        f" {key_file} ({key_id(ours)}), so nothing is signed over it. Bring the folder back from a"
        " copy, or move it away. If you have exchanged the key yourself, put the public half of the"
        f" older one into {predecessor_file(key_file)}"
    )


def _newest(data_dir: Path, keys: Keys) -> tuple[dict[str, Any], list[bytes]] | None:
    """The newest head by one of these keys, and the lines after it."""
    after: list[bytes] = []
    for line in backwards(data_dir / HEADS):
        try:
            return signed_head(line, dict(keys)), after[::-1]
        except ValueError:
            after.append(line)
    return None


def _anchor(found: tuple[dict[str, Any], list[bytes]], keys: Keys) -> Anchor:
    head, after = found
    problem = f"the last {len(after)} lines of {HEADS} are not signed by our key" if after else ""
    return Anchor(head, keys, tuple(after), problem)


def _lines(data_dir: Path) -> Iterator[bytes]:
    yield from list(backwards(data_dir / HEADS))[::-1]


def _keys_of(file: Path) -> Keys:
    try:
        return public_keys(file.read_bytes())
    except (OSError, ValueError):
        return {}
