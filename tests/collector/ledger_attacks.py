"""A small data directory made by the real store, in memory, and somebody who rewrites it."""

import base64
import hashlib
import json
import random
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from collector.heads import head_line
from collector.ledger_entry import GENESIS
from collector.pgwarden_verify import Report, check, public_keys
from model.merkle import leaf_hash, root_of


@dataclass(frozen=True)
class Disk:
    """Files of a data directory as bytes, and the heads and key that an auditor has kept."""

    ledger: bytes
    heads: bytes
    segments: dict[str, bytes]
    public: bytes
    outside: bytes | None = None
    _digests: dict[bytes, str] = field(default_factory=dict)

    def verify(self) -> Report:
        return check(
            self.ledger, self.heads, self._segment, public_keys(self.public), self.outside or b""
        )

    def _segment(self, path):
        data = self.segments.get(path)
        if data is None:
            return None
        if data not in self._digests:
            self._digests[data] = hashlib.sha256(data).hexdigest()
        return self._digests[data], len(data)


def read(folder, outside=None):
    return Disk(
        (folder / "ledger.jsonl").read_bytes(),
        (folder / "heads.jsonl").read_bytes(),
        {
            str(path.relative_to(folder)): path.read_bytes()
            for path in (folder / "segments").rglob("*.parquet")
        },
        (folder / "ledger.pub").read_bytes(),
        outside.read_bytes() if outside else None,
    )


def live(disk):
    """Paths of segments that the ledger says hold."""
    paths = {}
    for line in disk.ledger.splitlines():
        entry = json.loads(line)
        for path in entry["removed"]:
            paths.pop(path, None)
        paths |= dict.fromkeys(file["path"] for file in entry["files"])
    return list(paths)


def flip(disk, dice):
    def flipped(data):
        changed = bytearray(data)
        changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        return bytes(changed)

    return _somewhere(disk, dice, flipped)


def truncate(disk, dice):
    return _somewhere(disk, dice, lambda data: data[: dice.randrange(len(data))])


def delete(disk, dice):
    what = dice.choice(("segment", "line", "lines", "bytes"))
    if what == "segment":
        gone = dice.choice(live(disk))
        return replace(disk, segments={k: v for k, v in disk.segments.items() if k != gone})
    if what == "bytes":

        def cut(data):
            start = dice.randrange(len(data))
            return data[:start] + data[start + dice.randrange(1, 40) :]

        return _somewhere(disk, dice, cut)

    def without(lines):
        start = dice.randrange(len(lines))
        return lines[:start] + lines[start + (1 if what == "line" else dice.randrange(1, 5)) :]

    return _lines(disk, dice, without)


def reorder(disk, dice):
    if dice.random() < 0.3:
        one, other = dice.sample(live(disk), 2)
        if disk.segments[one] == disk.segments[other]:
            return None
        swapped = {one: disk.segments[other], other: disk.segments[one]}
        return replace(disk, segments=disk.segments | swapped)

    def shuffled(lines):
        one, other = dice.sample(range(len(lines)), 2)
        lines = list(lines)
        if dice.random() < 0.5:
            lines[one], lines[other] = lines[other], lines[one]
        else:
            lines.insert(other, lines.pop(one))
        return lines

    def rechained(lines):
        return rechain([json.loads(line) for line in shuffled(lines)])

    if dice.random() < 0.5:
        return replace(disk, ledger=_joined(rechained(_split(disk.ledger))))
    return _lines(disk, dice, shuffled)


def roll_back(disk, dice, earlier):
    """All of it, or parts, as they were once; the chain and every signature hold."""
    then = dice.choice(earlier)
    if dice.random() < 0.5:
        return replace(then, outside=disk.outside)
    if dice.random() < 0.5:
        return replace(disk, ledger=then.ledger)
    return replace(disk, ledger=then.ledger, heads=then.heads)


def forge_head(disk, dice, own_key):
    """History is rewritten with a good chain, and heads are made to fit it."""
    entries = [json.loads(line) for line in _split(disk.ledger)]
    victim = dice.randrange(len(entries))
    entries[victim]["at_us"] += dice.randrange(1, 10**6)
    lines = rechain(entries)
    heads = [json.loads(line) for line in _split(disk.heads)]
    attacker = Ed25519PrivateKey.from_private_bytes(dice.randbytes(32))
    how = dice.choice(
        (
            "unsigned",
            "random",
            "replayed",
            "other key",
            "other key, named",
            "stolen key",
            "appended",
        )
    )
    rewritten = replace(disk, ledger=_joined(lines))
    leaves = [leaf_hash(line) for line in lines]
    if how == "appended":
        line = head_line((len(lines), root_of(leaves)), 1, GENESIS, attacker)
        return replace(rewritten, heads=disk.heads + line + b"\n")
    if how in ("other key", "other key, named", "stolen key"):
        key = own_key if how == "stolen key" else attacker
        made, prev = [], GENESIS
        for head in heads:
            root = root_of(leaves[: head["size"]])
            line = head_line((head["size"], root), head["at_us"], prev, key)
            prev = hashlib.sha256(line).hexdigest()
            made.append(line)
        if how == "other key, named":
            pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            rewritten = replace(rewritten, public=pem)
        return replace(rewritten, heads=_joined(made))
    made, prev = [], GENESIS
    for head in heads:
        forged = {**head, "root": root_of(leaves[: head["size"]]).hex(), "prev": prev}
        if how == "random":
            forged["sig"] = dice.randbytes(64).hex()
        elif how == "replayed":
            forged["sig"] = dice.choice(heads)["sig"]
        else:
            forged["sig"] = dice.choice(("", "00" * 64, base64.b64encode(b"x").decode(), None))
        line = json.dumps(forged, sort_keys=True, separators=(",", ":")).encode()
        prev = hashlib.sha256(line).hexdigest()
        made.append(line)
    return replace(rewritten, heads=_joined(made))


def append(disk, dice):
    """A line or some more, well chained, after what is signed: what is under heads is replaced,
    taken out or added to. The heads that were signed last may be missing, here and outside."""
    heads = _split(disk.heads)
    known = _joined(heads[: dice.randrange(1, len(heads) + 1)])
    disk = replace(disk, heads=known, outside=known)
    for _ in range(dice.choice((1, 1, 2, 5))):
        disk = _with_line(disk, dice, dice.choice(list(APPENDED)))
    return disk


def _with_line(disk, dice, kind):
    entries = [json.loads(line) for line in _split(disk.ledger)]
    last, at_us = entries[-1], entries[-1]["at_us"] + 1
    sealed = {file["path"]: file for entry in entries for file in entry["files"]}
    victim = sealed[dice.choice(live(disk))]
    fields, segments = APPENDED[kind](victim, last["seq"] + 1, dice)
    notes = [*fields.get("notes", ()), *_false_signatures(entries, dice)]
    blank = {"files": [], "sources": [], "removed": [], "reason": ""}
    entry = {**blank, "seq": last["seq"] + 1, "at_us": at_us, "prev": last["hash"], **fields}
    body = json.dumps(entry | ({"notes": notes} if notes else {}), **CANONICAL)
    digest = hashlib.sha256((entry["prev"] + body).encode()).hexdigest()
    line = json.dumps({**json.loads(body), "hash": digest}, **CANONICAL).encode()
    left = {path: data for path, data in (disk.segments | segments).items() if data}
    return replace(disk, ledger=disk.ledger + line + b"\n", segments=left)


CANONICAL = {"sort_keys": True, "separators": (",", ":")}


def _false_signatures(entries, dice):
    """None, another entry's, somebody else's, or none at all that could be one."""
    notes = [note for entry in entries for note in entry.get("notes", ())]
    theirs = [note for note in notes if note["kind"] == "signed"]
    own = {**dice.choice(theirs), "sig": base64.b64encode(dice.randbytes(64)).decode()}
    odd = {**own, "sig": dice.choice((None, "", 5, "é"))}
    return dice.choice(
        ([], [dice.choice(theirs)], [own], [odd], [{**own, "key": "agent:" + "0" * 16}])
    )


def _seal(victim, path, dice):
    data = dice.randbytes(40)
    digest = hashlib.sha256(data).hexdigest()
    return {**victim, "path": path, "sha256": digest, "bytes": len(data)}, {path: data}


def _sealed_anew(victim, seq, dice):
    file, segments = _seal(victim, victim["path"], dice)
    return {"files": [file]}, segments


def _merged(victim, seq, dice):
    file, segments = _seal(victim, victim["path"].replace(".", f"-{seq:012d}."), dice)
    gone = {victim["path"]: b""} if dice.random() < 0.5 else {}
    removed = {"removed": [victim["path"]], "reason": "merged"}
    return {"files": [file], **removed}, segments | gone


def _retained(victim, seq, dice):
    reason = dice.choice(("retention", "expired", "damaged", ""))
    note = {"kind": "retention", "table": victim["table"], "cause": "age", "before_us": 2**60}
    gone = {victim["path"]: b""} if dice.random() < 0.5 else {}
    return {"removed": [victim["path"]], "reason": reason, "notes": [note]}, gone


def _added(victim, seq, dice):
    file, segments = _seal(victim, f"segments/{victim['table']}/{seq:012d}.parquet", dice)
    return {"files": [file]}, segments


def _received(victim, seq, dice):
    """Whoever sends these batches later would hear that they are here."""
    return {"sources": [{"agent": "host-a", "epoch": 1, "first": 1, "last": 2**40}]}, {}


def _noted(victim, seq, dice):
    return {"notes": [{"kind": "configuration", "sha256": dice.randbytes(4).hex()}]}, {}


APPENDED = {
    "sealed anew": _sealed_anew,
    "merged": _merged,
    "retained": _retained,
    "added": _added,
    "received": _received,
    "noted": _noted,
}


def rechain(entries):
    """The lines of these entries, numbered and bound anew."""
    lines, prev = [], GENESIS
    for seq, entry in enumerate(entries, 1):
        fields = {**entry, "seq": seq, "prev": prev}
        del fields["hash"]
        body = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        prev = hashlib.sha256((fields["prev"] + body).encode()).hexdigest()
        lines.append(
            json.dumps({**fields, "hash": prev}, sort_keys=True, separators=(",", ":")).encode()
        )
    return lines


def _somewhere(disk, dice, change):
    """``change`` the bytes of the ledger, the heads or a segment."""
    where = dice.choice(("ledger", "heads", "segment"))
    if where == "segment":
        path = dice.choice(live(disk))
        return replace(disk, segments=disk.segments | {path: change(disk.segments[path])})
    return replace(disk, **{where: change(getattr(disk, where))})


def _lines(disk, dice, change):
    where = dice.choice(("ledger", "heads"))
    return replace(disk, **{where: _joined(change(_split(getattr(disk, where))))})


def _split(data):
    return data.split(b"\n")[:-1]


def _joined(lines):
    return b"".join(line + b"\n" for line in lines)


def dice_of(seed):
    print(f"seed {seed}")
    return random.Random(seed)
