"""What leaves the host: columns of redacted, escaped, bounded values."""

import hashlib
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.digests import sealed_with
from agent.wire.batch import MAX_PAYLOAD_BYTES, BatchBuilder, to_wire
from agent.wire.messages import escape_name, escape_text
from model.event import Executed, Lost
from model.session import BackendKey, Identity, IdentityKind, Session
from model.statement import Audit, ParseStatus, Shape, Source, Statement, StatementRun
from model.verdict import Mode, Outcome, RuleAction, Severity, Verdict
from protos.pgwarden.v1 import uplink_pb2 as pb

SESSION = Session(BackendKey(7, 1_000_000), "5432", "alice", "shop", "psql", "local", -1)


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


SHAPE = Shape(ParseStatus.PARSED, sha("d"), "SELECT $1", operation="select", verbs=("select",))
VERDICT = Verdict(
    5, SESSION.key, 1, "drop-table", "No drops", Severity.HIGH, RuleAction.DENY, Mode.ENFORCE,
    Outcome.PREVENTED, "protected", "d", 120,
)  # fmt: skip


def statement(number=1, session=SESSION, **fields):
    defaults = {"text": b"SELECT 's3cret'", "text_bytes": 15, "started_at_us": 9}
    return Statement(id=number, session=session, source=Source.EBPF, **{**defaults, **fields})


def batches(builder):
    return [pb.Batch.FromString(payload.body) for payload in builder.take()]


def test_a_row_comes_back_as_it_went_in_with_strings_and_shapes_interned():
    builder = BatchBuilder()
    audit = Audit("READ", "SELECT", ("table:public.a", "table:public.b"))
    builder.add(statement(1, audit=audit, sqlstate="00000"), SHAPE, rule="r1")
    builder.add(statement(2), SHAPE, "relation does not exist")
    (batch,) = batches(builder)
    names, rows = batch.strings, batch.statements
    assert list(rows.id) == [1, 2]
    assert list(rows.rows) == [-1, -1]
    assert list(rows.shape) == [0, 0]
    assert len(batch.shapes) == 1
    assert [names[i] for i in rows.user_s] == ["alice", "alice"]
    assert [names[i] for i in rows.audit_objects_s] == ["table:public.a,table:public.b", ""]
    assert [names[i] for i in rows.error_message_s] == ["", "relation does not exist"]
    assert [names[i] for i in rows.rule_s] == ["r1", ""]
    assert sorted(set(names)) == sorted(names)


def test_a_statement_tells_how_sure_its_identity_is_and_why():
    builder = BatchBuilder()
    unsure = Identity(IdentityKind.HUMAN, "alice", 0.4, ("its login", "its terminal"))
    sure = replace(unsure, confidence=0.9)
    for number, identity in enumerate((unsure, sure, Identity(), unsure)):
        builder.add(statement(number, replace(SESSION, identity=identity)), SHAPE)
    (batch,) = batches(builder)
    rows = batch.statements
    assert list(rows.confidence) == pytest.approx([0.4, 0.9, 0, 0.4])
    told = "its login; its terminal"
    assert [batch.strings[index] for index in rows.evidence_s] == [told, told, "", told]


def test_what_leaves_the_host_in_the_place_of_a_digest_cannot_be_tried_without_its_key():
    seal, other = sealed_with(b"k" * 32), sealed_with(b"l" * 32)
    builder = BatchBuilder(seal=seal)
    builder.add(statement(1), replace(SHAPE, digest=sha("one")))
    builder.add(statement(2), replace(SHAPE, digest=""))
    [payload] = builder.take()
    batch = pb.Batch.FromString(payload.body)
    assert [each.hex() for each in batch.digests] == [seal(sha("one"))]
    assert list(batch.statements.digest_d) == [1, 0]
    assert sha("one") not in (seal(sha("one")), *(shape.digest for shape in batch.shapes))
    assert seal(sha("one")) != other(sha("one"))


def test_texts_that_differ_in_literals_alone_share_a_shape_and_keep_their_digests():
    builder = BatchBuilder()
    for number in (1, 2, 1):
        builder.add(statement(number), replace(SHAPE, digest=sha(str(number))))
    (batch,) = batches(builder)
    assert list(batch.statements.shape) == [0, 0, 0]
    digests = [batch.digests[index - 1].hex() for index in batch.statements.digest_d]
    assert digests == [sha("1"), sha("2"), sha("1")]
    assert len(batch.digests) == 2


def test_a_run_is_as_many_rows_as_statements_one_by_one():
    executions = [Executed(1_000 + n, n, n // 2, n * 3, n * 5) for n in range(10_000)]
    run = StatementRun(7, SESSION, b"SELECT 1", "SELECT", "II", executions, "trace")
    together, singly = BatchBuilder(), BatchBuilder()
    together.add_run(run, SHAPE)
    for index in range(len(executions)):
        singly.add(run.statement(index), SHAPE)

    def rows(builder):
        return [
            tuple(
                batch.strings[value] if field.name.endswith("_s") else value
                for field, value in zip(batch.statements.DESCRIPTOR.fields, row, strict=True)
            )
            for batch in batches(builder)
            for row in zip(
                *(getattr(batch.statements, f.name) for f in batch.statements.DESCRIPTOR.fields),
                strict=True,
            )
        ]

    told = rows(together)
    assert told == rows(singly)
    assert len(told) == 10_000


def test_the_text_of_a_statement_never_enters_a_batch():
    builder = BatchBuilder()
    builder.add(statement(error_message="near 's3cret'"), SHAPE, "near $1")
    (payload,) = builder.take()
    assert b"s3cret" not in payload.body
    assert b"SELECT $1" in payload.body


def test_bulk_and_priority_rows_travel_apart_and_are_counted_by_kind():
    builder = BatchBuilder()
    builder.add(statement(), SHAPE)
    builder.add_session(SESSION, 10)
    builder.add_verdict(VERDICT, SESSION, "DROP TABLE x")
    builder.add_loss(Lost(2_000, "ebpf", "ring_full", 3))
    assert builder.rows == 4
    bulk, priority = builder.take()
    assert (dict(bulk.counts), bulk.priority) == ({"statements": 1, "sessions": 1}, False)
    assert (dict(priority.counts), priority.priority) == ({"verdicts": 1, "losses": 1}, True)
    assert pb.Batch.FromString(bulk.body).sessions.client_port[0] == 0, "-1 is not a port"
    assert builder.take() == []


def test_batches_are_split_before_they_pass_the_limit_and_no_row_is_lost():
    builder, dice = BatchBuilder(limit_bytes=20_000), random.Random(1)
    for number in range(500):
        text = "x" * dice.randrange(2000)
        builder.add(statement(number), Shape(ParseStatus.PARSED, sha(str(number)), text))
    payloads = builder.take()
    assert len(payloads) > 20
    assert all(len(payload.body) <= 20_000 for payload in payloads)
    ids = [i for p in payloads for i in pb.Batch.FromString(p.body).statements.id]
    assert ids == list(range(500))


def test_the_largest_possible_row_fits_one_message():
    huge = "\udcff" * 3_000_000
    names = tuple(f"{number}{huge[:200_000]}" for number in range(2000))
    shape = Shape(
        ParseStatus.CUT, sha(""), huge, huge, huge, names, names, names, names, names, names, names,
        names, names, huge,
    )  # fmt: skip
    session = Session(BackendKey(1, 1), huge, huge + "1", huge + "2", huge + "3", huge + "4", 1)
    builder = BatchBuilder()
    builder.add(statement(1, session), shape, huge, huge)
    builder.add(statement(2, session), shape, huge, huge)
    builder.add_verdict(VERDICT, session, huge)
    for payload in builder.take():
        assert len(payload.body) < MAX_PAYLOAD_BYTES


@pytest.mark.parametrize(
    ("raw", "text", "name"),
    [
        ("plain", "plain", "plain"),
        ("a\nb\tc", "a\nb\tc", "a\\x0ab\\x09c"),
        ("nul\x00", "nul\\x00", "nul\\x00"),
        ("bad\udcff", "bad\\xff", "bad\\xff"),
        ("lone\ud800", "lone\\ud800", "lone\\ud800"),
        ("\x1b[31m\x9b", "\\x1b[31m\\x9b", "\\x1b[31m\\x9b"),
        ("line\u2028", "line\u2028", "line\\u2028"),
        ("naïve €", "naïve €", "naïve €"),
    ],
)
def test_control_characters_and_invalid_utf8_are_escaped(raw, text, name):
    assert escape_text(raw) == text
    assert escape_name(raw) == name


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=60), st.integers(0, 80))
def test_any_text_becomes_valid_utf8_within_its_limit(raw, limit):
    assert len(escape_text(raw, limit).encode()) <= limit
    assert escape_name(raw, limit).isprintable() or not raw.isprintable()


@given(st.integers(1, 2**63), st.integers(1, 2**40), st.integers(0, 300))
def test_the_number_is_put_on_without_touching_the_body(epoch, sequence, rows):
    builder = BatchBuilder()
    for number in range(rows):
        builder.add(statement(number), SHAPE)
    body = builder.take()[0].body if rows else b""
    message = pb.AgentMessage.FromString(to_wire(body, epoch, sequence))
    assert (message.batch.epoch, message.batch.sequence) == (epoch, sequence)
    assert list(message.batch.statements.id) == list(range(rows))


def test_urgent_statements_travel_with_the_others_while_there_is_room_for_all():
    builder = BatchBuilder()
    drop = replace(SHAPE, operation="drop", verbs=("drop",), redacted_text="DROP TABLE t")
    run = StatementRun(
        9, SESSION, b"DROP TABLE t", "DROP TABLE", "II", [Executed(1, 1, 1, -1, 1)] * 2
    )
    told = {}
    for room in (10_000, 0):
        builder.mix(room)
        builder.add(statement(1, executions=40), SHAPE)
        builder.add(statement(2), drop, urgent=True)
        builder.add_run(run, drop, urgent=True)
        told[room] = builder.take()
    (together,) = told[10_000]
    assert (together.priority, together.rows, together.facts, together.urgent) == (False, 4, 43, 3)
    bulk, urgent = told[0]
    assert (bulk.priority, bulk.rows, bulk.facts, bulk.urgent) == (False, 1, 40, 0)
    assert (urgent.priority, urgent.rows, urgent.facts, urgent.urgent) == (True, 3, 3, 3)
    assert set(pb.Batch.FromString(urgent.body).statements.id) == {2, 9, 10}


@pytest.mark.parametrize("limit", [2_000, MAX_PAYLOAD_BYTES])
def test_batches_with_something_urgent_among_the_rest_stay_within_what_is_sure_to_be_kept(limit):
    drop = replace(SHAPE, operation="drop", verbs=("drop",))
    for room in range(0, 20_000, 97):
        builder = BatchBuilder(limit)
        builder.mix(room)
        for number in range(100):
            builder.add(statement(number), drop if number % 3 else SHAPE, urgent=number % 3 > 0)
        payloads = builder.take()
        mixed = [each for each in payloads if each.urgent and not each.priority]
        assert sum(len(each.body) for each in mixed) <= room
        assert sum(each.urgent for each in payloads) == 66
        assert sum(each.rows for each in payloads) == 100
