"""What is fuzzed: each target takes bytes, and an exception that escapes it is a finding."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest import mock

import polars as pl
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.probes.layout import (
    CARRY_BYTES,
    FIELDS,
    RESPONSE_HEAD,
    RESPONSE_MEDIUM,
    RESPONSE_SMALL,
    UNKNOWN,
    RecordKind,
    TextState,
    layout_of,
)
from agent.sources.pgaudit.audit import AuditError, parse_audit
from agent.sources.pgaudit.csvlog import CsvlogParser
from agent.sources.pgaudit.jsonlog import JsonlogParser
from agent.sources.pgaudit.records import LogClock
from agent.sources.pgaudit.stderr import StderrParser
from agent.sources.records import Decoder
from agent.sql.client import ParserClient
from agent.sql.redact import redact_unscanned
from agent.witness import Witness
from agent.witness_key import signed_here
from collector import weight as weighing
from collector.columns import PoisonError
from collector.intake import batch_number, decode_batch, decode_message
from collector.pgwarden_verify import check, check_proof, public_keys
from config import ConfigError, load
from model.statement import ParseStatus
from protos.pgwarden.v1 import uplink_pb2 as pb
from rules.bundle import _PURPOSE as PURPOSE
from rules.bundle import BundleError, Sealed, claimed_version, from_file, unseal
from rules.language.loader import load_rules
from rules.language.problems import RuleError
from rules.language.tuning import Tuning

PREFIX = "%m [%p] %q%u@%d %a %h %c %l "
SECRET = b"k4n4ryZebra48151623421"

Target = Callable[[bytes], None]


def csvlog(data: bytes) -> None:
    _log(lambda: CsvlogParser(LogClock()), data)


def jsonlog(data: bytes) -> None:
    _log(lambda: JsonlogParser(LogClock()), data)


def stderrlog(data: bytes) -> None:
    _log(lambda: StderrParser(LogClock(), PREFIX), data)


def _log(parser, data: bytes) -> None:
    """However the bytes arrive, they say the same, and no byte is counted twice."""
    whole, parts = parser(), parser()
    once = whole.feed(data)
    cut = sum(data[:40]) % (len(data) + 1)
    assert parts.feed(data[:cut]) + parts.feed(data[cut:]) == once
    assert whole.end <= len(data)
    ends = [record.end for record in once]
    assert ends == sorted(set(ends))
    whole.finish()
    for record in once:
        with contextlib.suppress(AuditError):
            parse_audit(record, "main")


def record(data: bytes) -> None:
    """What clients decide of a kernel's record: names, texts, the bytes of the response."""
    kinds = (
        RecordKind.STATEMENT, RecordKind.NESTED, RecordKind.EXECUTION, RecordKind.FAILED,
        RecordKind.RESPONSE, RecordKind.SESSION, RecordKind.APPLICATION,
    )  # fmt: skip
    decoder = Decoder(lambda number: str(number))
    lot = []
    for number, part in enumerate(data.split(b"\n\n")):
        choice = part[0] if part else number
        lot.append(_record(kinds[choice % len(kinds)], part[1:], choice))
    first, second = lot, [*lot, *reversed(lot)]
    decoder.decode(first, 0, 0)
    for event in decoder.decode(second, 10**18, 10**9):
        repr(event)


def _packed(name: str, kind: RecordKind, choice: int, **values: int | bytes) -> bytes:
    fields = ("kind", "pid", "at_ns", "session_us", *FIELDS[name][1][1:])
    blank = dict(zip(fields, layout_of(name).unpack(bytes(layout_of(name).size)), strict=True))
    head = {"kind": kind, "pid": 4711, "at_ns": 10**9 + choice, "session_us": 5}
    return layout_of(name).pack(*(blank | head | values).values())


def _record(kind: RecordKind, text: bytes, choice: int) -> bytes:
    if kind in (RecordKind.STATEMENT, RecordKind.NESTED, RecordKind.FAILED):
        states = (TextState.WHOLE, TextState.CUT, TextState.UNREADABLE)
        fields = {
            "text_bytes": len(text), "full_bytes": len(text) + choice % 2,
            "text_state": states[choice % 3], "protocol": (0, 2)[choice % 2], "held": choice % 2,
        }  # fmt: skip
        return _packed("statement_record", kind, choice, **fields) + text
    if kind is RecordKind.EXECUTION:
        tail = text[-47:] + b"I"
        padded = tail.rjust(48, b"\0")
        sizes = {"text_bytes": len(text), "tail_bytes": len(tail), "tail": padded}
        return _packed("execution_record", kind, choice, **sizes) + text
    if kind is RecordKind.RESPONSE:
        return _response(text, choice)
    if kind is RecordKind.SESSION:
        names = {
            name: text[n::3][:64] for n, name in enumerate(("user", "database", "application"))
        }
        family = (2, 10, 1)[choice % 3]
        return _packed("session_record", kind, choice, family=family, **names)
    return _packed("application_record", kind, choice, application=text[:64])


def _response(text: bytes, choice: int) -> bytes:
    small = len(text) <= RESPONSE_SMALL
    kept = text[: RESPONSE_SMALL if small else RESPONSE_HEAD]
    tail = b"" if small else text[len(kept) :][-256:]
    whole = _packed(
        "response_record", RecordKind.RESPONSE, choice,
        bytes_sent=len(text), starts=1, write_bytes=len(text) + choice % 3, head_bytes=len(kept),
        tail_bytes=len(tail), write=choice % 5, ready=1 if kept else 0, failed=choice % 5,
        begins=(UNKNOWN, 0, choice)[choice % 3], ended=(UNKNOWN, 1)[choice % 2],
    )  # fmt: skip
    if small:
        return whole + kept.ljust(RESPONSE_SMALL, b"\0")
    large = kept.ljust(RESPONSE_HEAD, b"\0") + tail
    return whole + bytes(CARRY_BYTES) + large.ljust(RESPONSE_MEDIUM, b"\0")


def message(data: bytes) -> None:
    """Whatever an agent sends is refused or understood."""
    batch_number(data)
    with contextlib.suppress(PoisonError):
        decode_message(data)


def batch(data: bytes) -> None:
    with contextlib.suppress(PoisonError):
        decoded = decode_batch(decode_message(data).batch, "host-a")
        for frame in decoded.frames.values():
            assert frame.height


def weight(data: bytes) -> None:
    """A batch weighs no less than what it becomes, however it points at its texts."""
    with contextlib.suppress(PoisonError):
        sent = decode_message(data).batch
        usual = _weighed(sent, len(data))
        with mock.patch.object(weighing, "UNCOUNTED_SPREAD_BYTES", 0):
            counted = weighing.spread_bytes(sent)
            assert usual <= _weighed(sent, len(data))
        frames = decode_batch(sent, "host-a").frames
        rows = sum(frame.height for frame in frames.values())
        assert rows <= weighing.rows_in(sent) <= usual
        shared = [frames[name] for name in ("statements", "sessions") if name in frames]
        assert sum(map(_text_bytes, shared)) <= counted


def _weighed(sent: pb.Batch, wire_bytes: int) -> int:
    found = weighing.weight(sent, wire_bytes)
    assert found >= max(weighing.MESSAGE_ROWS, wire_bytes // weighing.ROW_WIRE_BYTES)
    assert found >= weighing.spread_bytes(sent) // weighing.ROW_SPREAD_BYTES
    return found


def _text_bytes(frame: pl.DataFrame) -> int:
    """Of what the agent wrote: neither its own name, nor digests that are longer as text."""
    found = 0
    for series in frame.drop("agent", "digest", strict=False):
        texts = series.explode() if series.dtype == pl.List else series
        if texts.dtype == pl.String:
            found += int(texts.str.len_bytes().sum() or 0)
    return found


@cache
def _parser() -> ParserClient:
    return ParserClient()


def redactor(data: bytes) -> None:
    """Any bytes have a shape; a literal that certainly begins is seen by nobody."""
    before = data[: len(data) // 2].translate(None, delete=b"'\"$\\-/*\0")
    sql = before + b" '" + SECRET + b"' " + data[len(data) // 2 :]
    texts = [data, sql]
    whole, told = _parser().shapes(texts, [len(text) for text in texts])
    assert isinstance(whole.status, ParseStatus)
    assert SECRET.decode() not in repr(told)
    assert SECRET.decode() not in redact_unscanned(sql.decode("utf-8", "surrogateescape"))


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="pgwarden-fuzz-"))


def close() -> None:
    """What targets keep between their inputs."""
    if _parser.cache_info().currsize:
        _parser().close()
        _parser.cache_clear()
    if _folder.cache_info().currsize:
        shutil.rmtree(_folder(), ignore_errors=True)
        _folder.cache_clear()


def rules(data: bytes) -> None:
    file = _folder() / "rules.yaml"
    file.write_bytes(data)
    with contextlib.suppress(RuleError):
        load_rules([file], {}, Tuning())


def configuration(data: bytes) -> None:
    file = _folder() / "pgwarden.yaml"
    file.write_bytes(data)
    with contextlib.suppress(ConfigError):
        load(file, {})


KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


def bundle(data: bytes) -> None:
    """A bundle that its key signed may hold anything as well: keys are stolen."""
    with contextlib.suppress(BundleError):
        sealed = from_file(data)
        claimed_version(sealed)
        unseal(sealed, KEY.public_key())
    with contextlib.suppress(BundleError):
        unseal(Sealed(data, KEY.sign(PURPOSE + data)), KEY.public_key())


def _parts(data: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """A record in one file of the corpus: ledger, heads, key and what lies outside."""
    parts = data.split(b"\n====\n")
    ledger, heads, key, outside = (*parts, b"", b"", b"", b"")[:4]
    return ledger, heads, key, outside


def verifier(data: bytes) -> None:
    """It never falls over, and believes nothing that the key of the corpus has not signed."""
    ledger, heads, key, outside = _parts(data)
    try:
        keys = public_keys(key)
    except ValueError:
        keys = {}
    report = check(ledger, heads, lambda path: None, keys, outside)
    trusted = keys.keys() <= _trusted().keys()
    if keys and trusted and not report.problems:
        whole = ledger[: ledger.rfind(b"\n") + 1]
        signed = b"".join(whole.splitlines(keepends=True)[: report.signed])
        assert _original().startswith(signed) or not report.signed
    with contextlib.suppress(ValueError, RecursionError):
        proof = json.loads(outside)
        if isinstance(proof, dict):
            check_proof(proof, keys)


@cache
def _seed() -> bytes:
    return (Path(__file__).parent / "corpus/verifier/whole").read_bytes()


def _original() -> bytes:
    return _parts(_seed())[0]


def _trusted():
    return public_keys(_parts(_seed())[2])


def witness(data: bytes) -> None:
    """An agent signs nothing but a head of the ledger's key that goes on from what it knows."""
    folder = Path(tempfile.mkdtemp(dir=_folder()))
    try:
        signer = Witness(folder, "host-a", signed_here)
        for part in data.split(b"\n====\n"):
            try:
                head = pb.Head.FromString(part)
            except Exception:  # noqa: BLE001 - protobuf's own, and no subject here
                continue
            before = signer.size
            answer = signer.observe(head)
            assert signer.size >= before
            assert answer is None or bool(answer.line) != bool(answer.refused)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        csvlog, jsonlog, stderrlog, record, message, batch, weight, redactor, rules, configuration,
        bundle, verifier, witness,
    )
}  # fmt: skip
