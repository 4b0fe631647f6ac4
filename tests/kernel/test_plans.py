"""What a held statement's plan says it touches, on every version that we know."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
import pytest

from agent.guard.decision import ALLOW, Decision
from agent.guard.memory import Tracee, read_memory
from agent.guard.plans import Plan, PlanError, read_plan
from agent.probes.layouts import LAYOUTS
from agent.probes.plan_layouts import PLAN_LAYOUTS
from model.event import StatementStarted
from tests.conformance.servers import DEBIAN_MAJOR, MAJORS, Server, fetch
from tests.kernel.guard_stage import Stage

pytestmark = [pytest.mark.kernel, pytest.mark.live]

OBJECTS = """
CREATE SCHEMA hr;
CREATE TABLE hr.salaries (id int PRIMARY KEY, amount int);
INSERT INTO hr.salaries SELECT n, n FROM generate_series(1, 1000) n;
CREATE TABLE hr.people (id int PRIMARY KEY, name text);
INSERT INTO hr.people SELECT n, n FROM generate_series(1, 10) n;
ANALYZE hr.salaries, hr.people;
CREATE VIEW public.pay AS SELECT id, amount FROM hr.salaries;
CREATE VIEW public.pay_again AS SELECT id, amount FROM public.pay;
CREATE VIEW public.guarded WITH (security_barrier) AS SELECT id, amount FROM hr.salaries;
CREATE VIEW public.sums AS SELECT sum(amount) AS amount FROM hr.salaries;
CREATE TABLE public.inbox (id int);
CREATE RULE sweep AS ON INSERT TO public.inbox DO INSTEAD DELETE FROM hr.salaries WHERE id = NEW.id;
CREATE TABLE public.log (id int);
CREATE RULE also AS ON UPDATE TO public.log DO ALSO DELETE FROM hr.people WHERE id = OLD.id;
CREATE FUNCTION public.paid() RETURNS SETOF hr.salaries LANGUAGE sql STABLE
    AS 'SELECT * FROM hr.salaries';
CREATE TABLE public.parts (id int, at int) PARTITION BY RANGE (at);
CREATE TABLE public.parts_1 PARTITION OF public.parts FOR VALUES FROM (0) TO (10);
CREATE TABLE public.parts_2 PARTITION OF public.parts FOR VALUES FROM (10) TO (20);
CREATE TABLE public.elder (id int);
CREATE TABLE public.heir () INHERITS (public.elder);
CREATE SEQUENCE public.counter;
CREATE TABLE public.outbox (id int);
CREATE RULE sweep AS ON INSERT TO public.outbox DO ALSO DELETE FROM hr.people;
CREATE TABLE public.sent (id int);
CREATE RULE sweep AS ON UPDATE TO public.sent DO ALSO DELETE FROM hr.people;
CREATE FUNCTION public.inner_one(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION public.outer_one(int) RETURNS int LANGUAGE sql AS 'SELECT public.inner_one($1)';
CREATE VIEW public.calling AS SELECT public.outer_one(id) AS one FROM hr.people;
CREATE TABLE public.filled (id int, at int DEFAULT public.inner_one(2));
CREATE DOMAIN public.small AS int CHECK (VALUE < 100);
"""


@dataclass(frozen=True)
class Case:
    sql: str
    reads: set[str] = field(default_factory=set)
    writes: set[str] = field(default_factory=set)
    commands: tuple[str, ...] = ("select",)
    rows: float | None = None
    since: int = 12
    """Older servers do not know such a statement."""


SALARIES, PEOPLE = "hr.salaries", "hr.people"
CASES = [
    Case("SELECT * FROM hr.salaries", {SALARIES}, rows=1000),
    Case("SELECT 1", rows=1),
    Case("SELECT count(*) FROM hr.salaries", {SALARIES}, rows=1),
    Case("SELECT * FROM hr.people p JOIN hr.salaries s USING (id)", {SALARIES, PEOPLE}, rows=10),
    Case("SELECT * FROM public.pay", {SALARIES, "public.pay"}, rows=1000),
    Case("SELECT * FROM public.pay_again", {SALARIES, "public.pay", "public.pay_again"}),
    Case("SELECT * FROM public.guarded WHERE id < 5", {SALARIES, "public.guarded"}),
    Case("SELECT * FROM public.sums", {SALARIES, "public.sums"}),
    Case("SELECT * FROM public.paid()", {SALARIES}, rows=1000),
    Case("SELECT * FROM hr.salaries FOR UPDATE", {SALARIES}),
    Case("SELECT (SELECT max(amount) FROM hr.salaries)", {SALARIES}),
    Case("WITH s AS (SELECT * FROM hr.salaries) SELECT 1 FROM s, s s2 LIMIT 1", {SALARIES}),
    Case("SELECT 'hr.salaries'::regclass", set()),
    Case("SELECT nextval('public.counter')", set()),
    Case("SELECT * FROM public.parts", {"public.parts", "public.parts_1", "public.parts_2"}),
    Case("SELECT * FROM public.parts WHERE at = 5", {"public.parts", "public.parts_1"}),
    Case("DELETE FROM hr.salaries", set(), {SALARIES}, ("delete",), rows=1000),
    Case("DELETE FROM hr.salaries WHERE id = 1", set(), {SALARIES}, ("delete",), rows=1),
    Case("DELETE FROM hr.salaries RETURNING *", set(), {SALARIES}, ("delete",), rows=1000),
    Case(
        "INSERT INTO hr.people SELECT id, 'x' FROM hr.salaries ON CONFLICT (id)"
        " DO UPDATE SET name = EXCLUDED.name",
        {SALARIES}, {PEOPLE}, ("insert",), rows=1000,
    ),
    Case(
        "DELETE FROM hr.people p USING hr.salaries s WHERE s.id = p.id",
        {SALARIES}, {PEOPLE}, ("delete",),
    ),
    Case(
        "DELETE FROM hr.people WHERE id IN (SELECT id FROM hr.salaries FOR UPDATE)",
        {SALARIES}, {PEOPLE}, ("delete",),
    ),
    Case(
        "WITH gone AS (DELETE FROM hr.salaries RETURNING *) SELECT count(*) FROM gone, hr.people",
        {PEOPLE}, {SALARIES}, ("select", "delete"),
    ),
    Case("DELETE FROM public.pay", set(), {SALARIES, "public.pay"}, ("delete",), rows=1000),
    Case(
        "UPDATE public.pay_again SET amount = 1 WHERE id = 1",
        set(), {SALARIES, "public.pay", "public.pay_again"}, ("update",),
    ),
    Case(
        "INSERT INTO public.guarded VALUES (6000, 1)",
        set(), {SALARIES, "public.guarded"}, ("insert",),
    ),
    Case(
        "INSERT INTO public.inbox VALUES (1)",
        {"public.inbox"}, {SALARIES, "public.inbox"}, ("delete",),
    ),
    Case(
        "UPDATE public.log SET id = 2",
        {"public.log"}, {PEOPLE, "public.log"}, ("delete", "update"),
    ),
    Case(
        "DELETE FROM public.parts",
        set(), {"public.parts", "public.parts_1", "public.parts_2"}, ("delete",),
    ),
    Case(
        "UPDATE public.parts SET id = 1 WHERE at = 15",
        set(), {"public.parts", "public.parts_2"}, ("update",),
    ),
    Case("DELETE FROM public.parts_1", set(), {"public.parts_1"}, ("delete",)),
    Case("DELETE FROM public.elder", set(), {"public.elder", "public.heir"}, ("delete",)),
    Case(
        "MERGE INTO hr.people p USING hr.salaries s ON s.id = p.id"
        " WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'new')",
        {SALARIES}, {PEOPLE}, ("merge",), since=15,
    ),
    Case("MERGE INTO hr.people p USING hr.salaries s ON s.id = p.id WHEN MATCHED THEN DO NOTHING",
        {SALARIES}, {PEOPLE}, ("merge",), since=15,
    ),
    # The last ones: they make the table larger, and the estimate with it.
    Case("UPDATE hr.salaries SET amount = 0", set(), {SALARIES}, ("update",), rows=1000),
    Case("INSERT INTO hr.salaries VALUES (5000, 1)", set(), {SALARIES}, ("insert",), rows=1),
    Case("TRUNCATE hr.people", set(), set(), ("utility",), rows=-1),
]  # fmt: skip


BARE = ("delete", PEOPLE)
WHOLE = [
    ("DELETE FROM hr.people", {BARE}),
    ("DELETE FROM hr.people WHERE name = 'x'", set()),
    ("DELETE FROM hr.people WHERE id = 1", set()),
    ("DELETE FROM hr.salaries WHERE id = 1", set()),
    ("DELETE FROM hr.salaries WHERE id IN (1, 2, 3)", set()),
    ("DELETE FROM hr.salaries WHERE ctid = '(0,1)'", set()),
    ("DELETE FROM hr.salaries WHERE ctid > '(0,3)'", set()),
    ("DELETE FROM hr.salaries WHERE id < 5 OR id > 990", set()),
    ("DELETE FROM hr.people WHERE false", set()),
    ("DELETE FROM hr.people USING public.elder", {BARE}),
    ("DELETE FROM hr.people p USING hr.salaries s WHERE s.id = 7", {BARE}),
    ("DELETE FROM hr.people p USING hr.salaries s WHERE s.id = p.id", set()),
    ("DELETE FROM hr.people p USING hr.salaries s WHERE s.amount > p.id", set()),
    ("DELETE FROM hr.salaries s USING hr.people p WHERE s.id = p.id", set()),
    ("DELETE FROM hr.people WHERE id IN (SELECT id FROM hr.salaries)", set()),
    ("DELETE FROM hr.people WHERE EXISTS (SELECT FROM hr.salaries WHERE id = 3)", set()),
    ("UPDATE hr.people SET name = 'x'", {("update", PEOPLE)}),
    ("UPDATE hr.people SET name = s.amount::text FROM hr.salaries s WHERE s.id = 1",
     {("update", PEOPLE)}),
    ("WITH gone AS (DELETE FROM hr.people RETURNING id) SELECT count(*) FROM gone", {BARE}),
    ("WITH gone AS (DELETE FROM hr.people WHERE id = 1 RETURNING id) SELECT 1 FROM gone", set()),
    ("WITH gone AS (DELETE FROM hr.people RETURNING id) INSERT INTO public.elder TABLE gone",
     {BARE}),
    ("DELETE FROM public.parts", {("delete", "public.parts_1"), ("delete", "public.parts_2")}),
    ("DELETE FROM public.parts WHERE id = 3", set()),
    ("DELETE FROM public.elder", {("delete", "public.elder"), ("delete", "public.heir")}),
    ("UPDATE public.elder SET id = 4 WHERE id = 3", set()),
    ("UPDATE public.pay_again SET amount = 1", {("update", SALARIES)}),
    ("INSERT INTO public.inbox VALUES (1)", set()),
    ("INSERT INTO public.outbox VALUES (1)", {BARE}),
    ("UPDATE public.sent SET id = 2 WHERE id = 2", {BARE}),
]  # fmt: skip


class Reader:
    """Reads the plan of every held statement; the address comes from the portal."""

    def __init__(self, server: Server) -> None:
        self.plans: dict[bytes, Plan] = {}
        self.places: list[int] = []
        self.errors: list[Exception] = []
        self._major = server.major

    def judge(self, event: StatementStarted) -> Decision:
        try:
            plan = self.plans[event.text] = self._read(event.backend.pid)
            self.places.append(plan.place)
        except (OSError, PlanError) as error:
            self.errors.append(error)
        return ALLOW

    def _read(self, pid: int) -> Plan:
        with Tracee(pid) as tracee:
            portal = tracee.registers().rdi
        place = portal + LAYOUTS[self._major].portal_statements
        [statements] = struct.unpack("<Q", read_memory(pid, place, 8))
        return read_plan(pid, PLAN_LAYOUTS[self._major], statements, is_list=True)


@dataclass
class Held:
    server: Server
    reader: Reader
    names: dict[int, str]
    connection: psycopg.Connection

    def plan(self, sql: str) -> Plan:
        self.connection.execute("BEGIN")
        try:
            self.connection.execute(sql)
        finally:
            self.connection.execute("ROLLBACK")
        assert self.reader.errors == []
        return self.reader.plans[sql.encode()]


OTHERS = [pytest.param(major, marks=pytest.mark.slow) for major in MAJORS if major != DEBIAN_MAJOR]


@pytest.fixture(scope="module", params=[DEBIAN_MAJOR, *OTHERS])
def held(request, compiled_probes) -> Iterator[Held]:
    if request.param != DEBIAN_MAJOR:
        fetch()
    with (
        Server(major=request.param, settings={"autovacuum": "off"}) as server,
        server.connect() as connection,
    ):
        connection.execute(OBJECTS)
        names = connection.execute(
            "SELECT oid::int, relnamespace::regnamespace || '.' || relname FROM pg_class"
        )
        reader = Reader(server)
        known = dict(names.fetchall())
        with Stage(server, reader.judge, deadline_ms=2000):
            yield Held(server, reader, known, connection)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sql[:60])
def test_a_plan_tells_commands_relations_and_rows(held, case):
    if held.server.major < case.since:
        with pytest.raises(psycopg.errors.SyntaxError):
            held.plan(case.sql)
        return
    plan = held.plan(case.sql)
    assert {held.names[each] for each in plan.reads} == case.reads
    assert {held.names[each] for each in plan.writes} == case.writes
    assert set(plan.commands) == set(case.commands)
    assert plan.complete
    if case.rows is not None:
        assert plan.rows == case.rows


STRING = (
    "SELECT 'a;b', 1 ; ;DELETE FROM hr.people WHERE id = 0;SET LOCAL work_mem = 64000;"
    " INSERT INTO public.outbox VALUES (1) ; /* ; */ SELECT 2"
)


def test_a_plan_tells_which_statement_of_its_string_it_is_of(held):
    held.reader.places.clear()
    held.plan(STRING)
    begins = [STRING.index(word) for word in ("SELECT 'a", "DELETE", "SET", "INSERT", "SELECT 2")]
    ends = [STRING.index(word) for word in (" ; ;", ";SET", "; INSERT", " ; /*")]
    _, *places, _ = held.reader.places  # BEGIN and ROLLBACK
    assert len(places) == len(begins)
    for place, begin, end in zip(places, begins, [-1, *ends], strict=True):
        assert end < place <= begin


@pytest.mark.parametrize("sql", ["INSERT INTO public.inbox VALUES (0); SELECT 1"])
def test_what_a_rule_runs_instead_is_of_no_statement_that_the_server_names(held, sql):
    held.reader.places.clear()
    held.plan(sql)
    assert held.reader.places[1] == -1


def _id(each: str | set[tuple[str, str]]) -> str:
    """The same in every process: a set has no order of its own."""
    return each[:60] if isinstance(each, str) else str(sorted(each))[:60]


@pytest.mark.parametrize(("sql", "whole"), WHOLE, ids=_id)
def test_a_plan_tells_what_is_changed_without_a_condition(held, sql, whole):
    plan = held.plan(sql)
    assert {(command, held.names[relation]) for command, relation in plan.whole} == whole
    assert plan.unclear == ()


@pytest.mark.parametrize(
    ("sql", "nodes"),
    [
        ("DELETE FROM hr.people WHERE id = 1", [("delete", PEOPLE, False)]),
        ("UPDATE hr.people SET name = 'x'", [("update", PEOPLE, True)]),
        ("DELETE FROM public.parts", [("delete", "public.parts", True)]),
        ("DELETE FROM public.elder WHERE id = 1", [("delete", "public.elder", False)]),
        ("UPDATE public.pay_again SET amount = 1", [("update", SALARIES, True)]),
        ("INSERT INTO public.outbox VALUES (1)", [("delete", PEOPLE, True)]),
        (
            "WITH gone AS (DELETE FROM hr.people WHERE id = 1 RETURNING id) DELETE FROM hr.people",
            [("delete", PEOPLE, True), ("delete", PEOPLE, False)],
        ),
    ],
)
def test_a_plan_tells_each_change_by_itself(held, sql, nodes):
    plan = held.plan(sql)
    assert [(verb, held.names[told], whole) for verb, told, whole in plan.nodes] == nodes


@pytest.mark.parametrize(
    ("sql", "functions"),
    [
        ("SELECT public.inner_one(1)", {"inner_one"}),
        ("SELECT public.outer_one(1)", {"inner_one", "outer_one"}),
        ("SELECT count(*) FROM public.calling WHERE one > 0", {"inner_one", "outer_one"}),
        ("INSERT INTO public.filled (id) VALUES (1)", {"inner_one"}),
        ("SELECT id FROM hr.people ORDER BY public.inner_one(id)", {"inner_one"}),
        ("SELECT amount::public.small FROM hr.salaries WHERE id < 5 AND abs(id) > 0", set()),
        ("SELECT count(*) FROM information_schema.columns", set()),
    ],
)
def test_a_plan_tells_the_functions_that_did_not_come_with_the_server(held, sql, functions):
    plan = held.plan(sql)
    names = held.connection.execute(
        "SELECT proname FROM pg_proc WHERE oid = ANY (%s)", (list(plan.functions),)
    )
    assert {name for (name,) in names} == functions
    assert len(plan.functions) == len(functions)


@pytest.mark.parametrize("join", ["hashjoin", "mergejoin", "nestloop"])
def test_a_join_with_a_condition_is_a_condition_however_it_is_done(held, join):
    others = {"hashjoin", "mergejoin", "nestloop"} - {join}
    for other in others:
        held.connection.execute(f"SET enable_{other} = off")
    try:
        for sql in (
            "DELETE FROM hr.people p USING public.paid() s WHERE s.amount = p.id",
            "DELETE FROM hr.people p USING hr.salaries s WHERE s.amount = p.id",
            "DELETE FROM hr.people WHERE id IN (SELECT amount FROM hr.salaries)",
        ):
            plan = held.plan(sql)
            assert (plan.whole, plan.unclear) == ((), ()), sql
    finally:
        held.connection.execute("RESET ALL")


def test_a_join_without_a_condition_is_none_on_either_side(held):
    held.connection.execute("SET enable_material = off")
    try:
        for table in ("public.elder", "hr.salaries"):
            plan = held.plan(f"DELETE FROM hr.people USING {table} other")
            assert [command for command, _ in plan.whole] == ["delete"]
    finally:
        held.connection.execute("RESET ALL")


def test_the_kernel_and_the_agent_look_for_a_plan_at_the_same_places():
    for major, plan in PLAN_LAYOUTS.items():
        layout = LAYOUTS[major]
        assert layout.planned_tree == plan.plan_tree
        assert layout.planned_results == plan.results
        assert layout.planned_relations == plan.relations
        assert layout.changed_parts == plan.changed_parts


@pytest.mark.parametrize(
    ("sql", "plain"),
    [
        ("DELETE FROM hr.people WHERE name = 'x'", True),
        ("DELETE FROM hr.salaries WHERE id = 1", True),
        ("INSERT INTO public.outbox VALUES (1)", True),
        ("SELECT 1", True),
        ("DELETE FROM hr.people USING public.elder", False),
        ("DELETE FROM public.parts", False),
        ("WITH gone AS (DELETE FROM hr.people RETURNING id) SELECT 1 FROM gone", False),
    ],
)
def test_a_plan_of_one_scan_is_plain(held, sql, plain):
    assert held.plan(sql).plain == plain
