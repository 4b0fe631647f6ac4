"""What a client binds is read as PostgreSQL holds it: every common type, in text and binary format,
on every version."""

import json
import os
import time
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.pq import Format

from agent.discovery import cluster_at
from agent.probes.layout import PARAMETER_BYTES, PARAMETERS_MANY, ParameterState
from agent.probes.loader import open_loader
from agent.probes.types import TYPE_NAMES
from agent.sources.ebpf import EbpfSource
from agent.sources.parameters import Bound, bound, count_of, shown
from model.event import StatementsExecuted, StatementStarted
from tests.conformance.servers import MAJORS, Server, fetch

BOTH_LOADERS = True
pytestmark = [
    pytest.mark.kernel,
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="eBPF needs root"),
]

NUMBERS = {name: number for number, name in TYPE_NAMES.items()}
CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=("Cs",))
NO_NUL = st.text(CHARACTERS, max_size=20)
MONTHS = ["0001-01-01", "0044-03-15 BC", "2000-02-29", "9999-12-31", "294000-06-01", "1900-03-01"]
"""Years that Python's own dates do not have, too."""
DATES = st.dates().map(str) | st.sampled_from([*MONTHS, "infinity", "-infinity"])
MOMENTS = st.datetimes().map(str) | st.sampled_from(
    ["0044-03-15 12:00:00.5 BC", "infinity", "-infinity", "294000-06-01 00:00:00"]
)
VALUES = {
    "bool": st.sampled_from("tf"),
    "int2": st.integers(-(2**15), 2**15 - 1).map(str),
    "int4": st.integers(-(2**31), 2**31 - 1).map(str),
    "int8": st.integers(-(2**63), 2**63 - 1).map(str),
    "oid": st.integers(0, 2**32 - 1).map(str),
    "float4": st.floats(width=32).map(repr) | st.sampled_from(["3.4028235e38", "1e-45", "-0"]),
    "float8": st.floats().map(repr),
    "text": NO_NUL,
    "varchar": NO_NUL,
    "bpchar": NO_NUL,
    "name": NO_NUL.filter(lambda text: len(text.encode()) < 64),
    "json": st.sampled_from(['{"a": [1, "é"]}', "null", "[]"]),
    "date": DATES,
    "time": st.times().map(str) | st.just("24:00:00"),
    "timestamp": MOMENTS,
    "timestamptz": MOMENTS.map(
        lambda text: text if "inf" in text or "BC" in text else text + "+05"
    ),
    "uuid": st.uuids().map(str),
    "numeric": st.from_regex(r"-?[0-9]{1,30}(\.[0-9]{1,30})?", fullmatch=True)
    | st.sampled_from(["NaN", "0", "0.0000", "-0.00012", "10000", "1e100", "1e-100", "99990000.5"]),
    "bytea": st.binary(max_size=60).map(lambda data: "\\x" + data.hex()),
}


def literal(elements):
    """Of an array of any number of dimensions."""
    if elements is None:
        return "NULL"
    if isinstance(elements, list):
        return "{" + ",".join(map(literal, elements)) + "}"
    escaped = elements.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def arrays_of(elements, most):
    flat = st.lists(elements | st.none(), max_size=most)
    square = st.tuples(elements, elements, elements, elements).map(
        lambda four: [list(four[:2]), list(four[2:])]
    )
    shifted = elements.map(lambda one: f"[-3:-3]={literal([one])}")
    return flat.map(literal) | square.map(literal) | shifted


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.decimals(-1000, 1000, places=3).map(float)
    | st.text(CHARACTERS, max_size=5),
    lambda parts: (
        st.lists(parts, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "bb", "é", '"']), parts, max_size=2)
    ),
    max_leaves=5,
)
VALUES |= {
    "int2[]": arrays_of(VALUES["int2"], 20),
    "int4[]": arrays_of(VALUES["int4"], 15),
    "bool[]": arrays_of(VALUES["bool"], 20),
    "text[]": arrays_of(st.text(CHARACTERS, max_size=4), 4)
    | st.sampled_from(['{"", null, "NULL", "null", " ", a b, "{}", "\\\\", "\\""}']),
    "uuid[]": arrays_of(VALUES["uuid"], 4),
    "numeric[]": arrays_of(st.integers(-(10**9), 10**9).map(str), 6),
    "timestamp[]": arrays_of(MOMENTS, 8),
    "jsonb": JSON.map(json.dumps),
}


BITS = st.from_regex(r"[01]{1,100}", fullmatch=True)
VALUES |= {
    "interval": st.builds(
        "{} years {} mons {} days {}".format,
        st.integers(-200, 200), st.integers(-20, 20), st.integers(-40, 40),
        st.sampled_from(["0", "-0.000001 s", "05:06:07.5", "-125:00:01", "+00:00:01", "23:59:60"]),
    ),
    "inet": st.ip_addresses().map(str)
    | st.sampled_from(["10.1.2.3/8", "::1/0", "2001:db8::1:0:0:1/64", "0.0.0.0/0"])
    | st.sampled_from(["::ffff:1.2.3.4", "::1.2.3.4/96"]),
    "cidr": st.sampled_from(["10.1.2.0/24", "192.0.2.1", "2001:db8::/32", "::1", "0/0"]),
    "bit": BITS,
    "varbit": BITS | st.just(""),
    "point": st.tuples(st.integers(-99, 99), st.sampled_from(["0.5", "-1e100", "1e-7"])).map(
        lambda pair: f"({pair[0]},{pair[1]})"
    ),
}  # fmt: skip


class Reader:
    """One connection of a watched cluster, and what was bound in it last."""

    def __init__(self, source: EbpfSource, connection: psycopg.Connection) -> None:
        self.source = source
        self.pg = connection.pgconn
        self.pid = connection.info.backend_pid
        self.close = lambda: (connection.close(), source.close())

    def run(self, query, values=(), types=(), form=Format.TEXT, answer=Format.TEXT) -> list:
        """The first row of the answer."""
        result = self.pg.exec_params(query, values, types, [form] * len(values), answer)
        assert result.status in (psycopg.pq.ExecStatus.TUPLES_OK, psycopg.pq.ExecStatus.COMMAND_OK)
        return [result.get_value(0, column) for column in range(result.nfields)]

    def forget(self) -> None:
        self.source.poll(0)
        self.source.poll(0)

    def captured(self) -> list[bytes]:
        """Of each statement since ``forget``."""
        found: list[bytes] = []
        deadline = time.monotonic() + 10
        while not found:
            assert time.monotonic() < deadline, "waited in vain"
            for event in self.source.poll(50):
                started = isinstance(event, StatementStarted | StatementsExecuted)
                if started and event.backend.pid == self.pid:
                    found.append(event.parameters)
        return found

    def read(self, query, values, types, form) -> list[Bound]:
        """What was read of a statement's only parameter, which has these values in turn."""
        self.forget()
        for value in values:
            self.run(query, [value], types, form)
        captured: list[bytes] = []
        while len(captured) < len(values):
            captured += self.captured()
        assert list(map(count_of, captured)) == [1] * len(values)
        return [one for each in captured for one in bound(each)]

    def bound_by(self, query, values, types, form=Format.TEXT) -> tuple[int, list[Bound]]:
        self.forget()
        self.run(query, values, types, form)
        (captured,) = self.captured()
        return count_of(captured), list(bound(captured))


def reader_of(server, loader) -> Reader:
    source = EbpfSource(loader=loader, parameters=True)
    cluster = cluster_at(server.postmaster_pid)
    assert cluster is not None
    source.add(cluster)
    connection = server.connect()
    for setting in ("timezone = 'UTC'", "datestyle = 'ISO'", "bytea_output = 'hex'"):
        connection.execute(f"SET {setting}")
    return Reader(source, connection)


@pytest.fixture(scope="module")
def reader(loader, postgres):
    """On PostgreSQL 15, with both loaders."""
    made = reader_of(postgres, loader)
    yield made
    made.close()


@pytest.fixture(scope="module", params=MAJORS)
def of_version(request, compiled_probes):
    fetch()
    with Server(major=request.param) as server:
        made = reader_of(server, open_loader("libbpf"))
        yield made
        made.close()


def same(kind: str, ours: str, theirs: str) -> bool:
    if kind == "bool":
        return ours == {"t": "true", "f": "false"}[theirs]
    # Of several shortest forms of a float, PostgreSQL does not always choose Python's.
    return ours == theirs or (kind == "float8" and float(ours) == float(theirs))


@pytest.mark.parametrize("form", [Format.TEXT, Format.BINARY])
@pytest.mark.parametrize("kind", VALUES)
def test_a_value_is_shown_as_the_server_writes_it(of_version, kind, form):
    number = [NUMBERS[kind]]

    @settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(VALUES[kind], min_size=6, max_size=6))
    def each(texts):
        query, values = b"SELECT $1", [text.encode() for text in texts]
        written = [of_version.run(query, [value], number)[0].decode() for value in values]
        if form is Format.BINARY:
            values = [
                of_version.run(query, [value], number, answer=Format.BINARY)[0] for value in values
            ]
        for value, as_written in zip(
            of_version.read(query, values, number, form), written, strict=True
        ):
            assert (value.type_name, value.state) == (kind, ParameterState.VALUE)
            if value.cut and kind not in ("text", "varchar", "bpchar"):
                assert shown(value).startswith("\\x")
            else:
                assert same(kind, shown(value), as_written)

    each()


@pytest.mark.parametrize("count", [0, 1, 4, 5, 32, 40, 1000])
def test_of_many_parameters_the_first_are_read_and_all_are_counted(reader, count):
    query = b"SELECT " + b", ".join(b"$%d::int" % (n + 1) for n in range(count))
    values = [b"%d" % n for n in range(count)]
    found, read = reader.bound_by(query, values, [NUMBERS["int4"]] * count) if count else (0, [])
    assert found == count
    assert [shown(one) for one in read] == [str(n) for n in range(min(count, PARAMETERS_MANY))]


def test_a_statement_without_parameters_has_none(reader):
    reader.forget()
    reader.run(b"SELECT 1")
    assert reader.captured() == [b""]


def test_null_is_no_value(reader):
    _, (one, other) = reader.bound_by(b"SELECT $1, $2", [None, b""], [NUMBERS["text"]] * 2)
    assert (one.state, one.type_name) == (ParameterState.NULL, "text")
    assert (other.state, shown(other)) == (ParameterState.VALUE, "")


@pytest.mark.parametrize("length", [PARAMETER_BYTES, PARAMETER_BYTES + 1, 5000, 3_000_000])
def test_a_long_value_is_cut_with_its_full_length(reader, length):
    _, (one,) = reader.bound_by(b"SELECT length($1)", [b"x" * length], [NUMBERS["text"]])
    assert (one.full_bytes, one.cut) == (length, length > PARAMETER_BYTES)
    assert shown(one) == "x" * min(length, PARAMETER_BYTES)


def test_a_value_whose_type_is_the_databases_own_is_not_followed(reader):
    """A domain over text is a pointer, an enum is not: nobody can tell."""
    reader.run(b"DROP TYPE IF EXISTS pg_temp.mood")
    reader.run(b"CREATE TYPE pg_temp.mood AS ENUM ('fine')")
    _, (one,) = reader.bound_by(b"SELECT $1::pg_temp.mood", [b"fine"], [0])
    assert one.state is ParameterState.UNKNOWN
    assert one.type_name.startswith("type ")


def test_a_number_is_never_taken_for_an_address(reader):
    """int8 values that are addresses of the server's memory show as numbers."""
    base = int(Path(f"/proc/{reader.pid}/maps").read_text().split("-")[0], 16)
    _, (one,) = reader.bound_by(b"SELECT $1", [b"%d" % base], [NUMBERS["int8"]])
    assert shown(one) == str(base)


def test_executions_of_one_text_keep_their_own_values(reader):
    reader.forget()
    for number in range(50):
        reader.run(b"SELECT $1::int AS each", [b"%d" % number], [NUMBERS["int4"]])
    found: list[bytes] = []
    while len(found) < 50:
        found += reader.captured()
    assert [shown(one) for captured in found for one in bound(captured)] == [
        str(number) for number in range(50)
    ]


def test_what_sql_execute_passes_belongs_to_the_inner_statement(reader):
    reader.run(b"PREPARE inner_one(int, text) AS SELECT $1, $2")
    reader.forget()
    reader.run(b"EXECUTE inner_one(7, 'seven')")
    outer, inner = reader.captured()
    assert outer == b""
    assert [shown(one) for one in bound(inner)] == ["7", "seven"]
    reader.run(b"DEALLOCATE inner_one")


def test_a_failing_statement_has_its_parameters(reader):
    reader.forget()
    result = reader.pg.exec_params(
        b"SELECT 1 / n FROM (VALUES ($1), (1)) AS v(n)", [b"0"], [NUMBERS["int4"]]
    )
    assert result.status == psycopg.pq.ExecStatus.FATAL_ERROR
    (captured,) = reader.captured()
    assert [shown(one) for one in bound(captured)] == ["0"]


def test_nothing_is_read_unless_it_was_asked_for(loader, postgres):
    cluster = cluster_at(postgres.postmaster_pid)
    with EbpfSource(loader=loader) as source, postgres.connect() as connection:
        source.add(cluster)
        quiet = Reader(source, connection)
        quiet.forget()
        quiet.run(b"SELECT $1", [b"x"], [NUMBERS["text"]])
        assert quiet.captured() == [b""]
