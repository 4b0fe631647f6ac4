"""What runs inside statements is told once, after the statement that it is a part of."""

import contextlib

import psycopg
import pytest

from agent.probes.loader import open_loader
from agent.probes.symbols import PROBES
from agent.sources.ebpf import EbpfSource
from model.event import StatementStarted
from tests.kernel.capture import Capture, starts

pytestmark = [pytest.mark.kernel, pytest.mark.live]

SCHEMA = """
create table noted(what text);
create table parent(id int primary key);
create table child(id int references parent);
insert into parent select generate_series(1, 5);
create function leaf(n int) returns int language sql volatile
    as 'insert into noted values ($1::text); select count(*)::int from noted';
create function branch() returns void language plpgsql as $$
begin
  perform leaf(1);
  begin
    execute 'insert into nowhere values (1)';
  exception when undefined_table then
    insert into noted values ('recovered');
  end;
  perform leaf(2);
end $$;
create function defines() returns void language plpgsql as $$
begin
  create temp table made as select id from parent;
  execute 'explain analyze select 1';
  drop table made;
end $$;
create function pieces() returns bigint language sql volatile as $$
  create temp table piece as select 1 as a;
  drop table piece;
  select count(*) from noted
$$;
create function constant() returns int language plpgsql immutable as $$
begin
  perform 1 from parent;
  return 7;
end $$;
create function down(n int) returns int language plpgsql as $$
begin
  if n = 0 then return 0; end if;
  return (select down(n - 1) from parent where id = 1);
end $$;
create function early() returns trigger language plpgsql as $$
begin
  insert into noted values ('row');
  return new;
end $$;
create trigger early before insert on parent for each row execute function early();
create function loops() returns void language plpgsql as $$
declare r record; c cursor for select id from parent;
begin
  for r in select id from parent where id < 3 loop
    insert into noted values ('in loop');
  end loop;
  for r in execute 'show work_mem' loop
    null;
  end loop;
  open c;
  fetch c into r;
  close c;
end $$;
create function atomic() returns bigint begin atomic select count(*) from parent; end;
"""


@pytest.fixture(scope="module", params=["libbpf", "bcc"])
def nested(request, compiled_probes, cluster, postgres):
    with postgres.connect() as admin:
        admin.execute("create schema nest; set search_path to nest; " + SCHEMA)
    with EbpfSource(loader=open_loader(request.param), nested=True) as source:
        source.add(cluster)
        yield Capture(source, postgres)
    with postgres.connect() as admin:
        admin.execute("drop schema nest cascade")


@pytest.fixture
def client(nested, postgres):
    with postgres.connect(options="-c search_path=nest") as connection:
        yield connection


def told(capture, client, *texts, count=None, params=None):
    """Depth and text of each start, in their order."""
    capture.forget()
    for text in texts:
        with contextlib.suppress(psycopg.Error):
            client.execute(text, params)
    events = capture.round_trips(client.info.backend_pid, count or len(texts))
    assert not capture.source.losses()
    return [(e.depth, e.text.decode()) for e in events if isinstance(e, StatementStarted)]


LEAF = [
    (2, "insert into noted values ($1::text)"),
    (2, "select count(*)::int from noted"),
]


def test_each_lies_under_the_one_that_it_is_a_part_of(nested, client):
    assert told(nested, client, "select branch()") == [
        (0, "select branch()"),
        (1, "SELECT leaf(1)"),
        *LEAF,
        (1, "insert into noted values ('recovered')"),
        (1, "SELECT leaf(2)"),
        *LEAF,
    ]


def test_a_command_with_a_query_in_it_is_one_statement(nested, client):
    assert told(nested, client, "select defines()") == [
        (0, "select defines()"),
        (1, "create temp table made as select id from parent"),
        (1, "explain analyze select 1"),
        (1, "drop table made"),
    ]


def test_statements_of_one_body_are_cut_out_of_it(nested, client):
    assert told(nested, client, "select pieces()") == [
        (0, "select pieces()"),
        (1, "create temp table piece as select 1 as a"),
        (1, "drop table piece"),
        (1, "select count(*) from noted"),
    ]


def test_a_function_that_planning_calls_is_told_before_its_statement(nested, client):
    assert told(nested, client, "select constant()") == [
        (1, "SELECT 1 from parent"),
        (0, "select constant()"),
    ]


def test_recursion_goes_deeper_until_the_kernel_stops_counting(nested, client):
    depths = [depth for depth, _ in told(nested, client, "select down(11)")]
    assert depths == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9]


def test_cursors_and_loops_over_queries_are_told_once_and_their_bodies_are_no_part_of_them(
    nested, client
):
    assert told(nested, client, "select loops()") == [
        (0, "select loops()"),
        (1, "select id from parent where id < 3"),
        (1, "insert into noted values ('in loop')"),
        (1, "insert into noted values ('in loop')"),
        (1, "show work_mem"),
        (1, "select id from parent"),
    ]


def test_triggers_are_parts_of_what_sets_them_off(nested, client):
    for _ in range(3):  # sent in full, then by number
        assert told(nested, client, "insert into parent values (70), (71)") == [
            (0, "insert into parent values (70), (71)"),
            (1, "insert into noted values ('row')"),
            (1, "insert into noted values ('row')"),
        ]
        told(nested, client, "delete from parent where id > 60")


def test_the_checks_of_foreign_keys_are_told_as_the_server_puts_them(nested, client):
    (outer, check) = told(nested, client, "insert into child values (1)")
    assert outer == (0, "insert into child values (1)")
    assert check == (
        1,
        'SELECT 1 FROM ONLY "nest"."parent" x WHERE "id" OPERATOR(pg_catalog.=) $1 '
        "FOR KEY SHARE OF x",
    )


def test_in_the_extended_protocol_and_in_pipelines_nothing_is_told_twice(nested, client):
    for _ in range(7):
        assert told(nested, client, "select leaf(%s), 1", params=(3,)) == [
            (0, "select leaf($1), 1"),
            (1, "insert into noted values ($1::text)"),
            (1, "select count(*)::int from noted"),
        ]
    nested.forget()
    with client.pipeline():
        for _ in range(3):
            client.execute("insert into noted values (%s) returning what", ("a",))
            client.execute("select leaf(%s)", (1,))
    events = nested.round_trips(client.info.backend_pid, 1)
    starts = [(e.depth, e.text.decode()) for e in events if isinstance(e, StatementStarted)]
    assert starts == 3 * [
        (0, "insert into noted values ($1) returning what"),
        (0, "select leaf($1)"),
        (1, "insert into noted values ($1::text)"),
        (1, "select count(*)::int from noted"),
    ]


def test_commands_of_one_string_are_not_parts_of_one_another(nested, client):
    text = "create temp table s as select 1; insert into s values (2) returning 1; drop table s"
    assert told(nested, client, text) == 3 * [(0, text)]


def test_what_sql_execute_runs_is_told_once(nested, client):
    prepare = "prepare p(int) as select leaf($1)"
    assert told(nested, client, prepare, "execute p(1)", "do 'begin execute ''execute p(2)''; end'",
                "explain analyze execute p(3)", "explain execute p(4)", "deallocate p") == [
        (0, prepare),
        (0, "execute p(1)"),
        (1, prepare),
        (1, "insert into noted values ($1::text)"),
        (1, "select count(*)::int from noted"),
        (0, "do 'begin execute ''execute p(2)''; end'"),
        (1, "execute p(2)"),
        (1, prepare),
        *LEAF,
        (0, "explain analyze execute p(3)"),
        (1, prepare),
        (1, "insert into noted values ($1::text)"),
        (1, "select count(*)::int from noted"),
        (0, "explain execute p(4)"),
        (0, "deallocate p"),
    ]  # fmt: skip


def test_declared_cursors_are_no_statements_of_their_own(nested, client):
    texts = ("begin", "declare c cursor for select leaf(1)", "fetch all from c", "commit")
    assert told(nested, client, *texts) == [
        (0, "begin"),
        (0, "declare c cursor for select leaf(1)"),
        (0, "fetch all from c"),
        (1, "insert into noted values ($1::text)"),
        (1, "select count(*)::int from noted"),
        (0, "commit"),
    ]


def test_long_statements_are_told_in_full(nested, client):
    long = "select length('" + "x" * 5000 + "')"
    body = f"create function long() returns int language sql volatile as $${long}; {long} + 1$$"
    assert told(nested, client, body, "select long()", "drop function long") == [
        (0, body),
        (0, "select long()"),
        (1, long),
        (1, f"{long} + 1"),
        (0, "drop function long"),
    ]


def test_of_a_body_without_a_text_it_is_said_that_there_is_none(nested, client):
    # A simple one is put into the query that calls it: nothing runs inside.
    client.execute(
        "create function unkept() returns setof int volatile strict security definer "
        "begin atomic select id from parent order by id; end"
    )
    assert told(nested, client, "select unkept()", "drop function unkept") == [
        (0, "select unkept()"),
        (1, "<text not kept by the server>"),
        (0, "drop function unkept"),
    ]


def test_without_being_asked_for_nothing_nested_is_told(capture, nested, client):
    starts = told(capture, client, "select branch()")
    assert starts == [(0, "select branch()")]


@pytest.fixture(scope="module")
def commands(nested, cluster, postgres):
    with EbpfSource(loader=open_loader(nested.source.loader), commands=True) as source:
        source.add(cluster)
        assert source.probes == len(PROBES) + 1
        yield Capture(source, postgres)


BLOCK = """do $$ begin
  perform leaf(1);
  set local work_mem = '1MB';
  lock table parent;
  execute 'grant select on parent to ' || current_user;
  execute 'do ''begin create temp table deep (a int); end''';
  create temp table made as select 1;
  drop table deep, made;
end $$"""


def test_of_commands_alone_those_are_told_that_outlive_the_statement(commands, client):
    assert told(commands, client, "set search_path to nest", BLOCK, count=2) == [
        (0, "set search_path to nest"),
        (0, BLOCK),
        (1, f"grant select on parent to {client.info.user}"),
        (1, "do 'begin create temp table deep (a int); end'"),
        (2, "create temp table deep (a int)"),
        (1, "create temp table made as select 1"),
        (1, "drop table deep, made"),
    ]


def test_where_commands_alone_are_told_nothing_else_is(commands, client):
    texts = ("select branch()", "insert into parent values (80)", "prepare q as select 1")
    texts += ("execute q", "do 'begin execute ''execute q''; end'", "select pieces()")
    texts += ("create temp table a as select 1; drop table a",)
    starts = told(commands, client, *texts)
    assert [text for depth, text in starts if not depth][:6] == [*texts[:6]]
    assert [text for depth, text in starts if depth] == [
        "prepare q as select 1",
        "prepare q as select 1",
        "create temp table piece as select 1 as a",
        "drop table piece",
    ]
    assert len(starts) == 12  # of the last text there are two


@pytest.mark.parametrize(
    "makes",
    ["select 1 as a into temp outcome", "explain analyze create temp table outcome as select 1"],
)
def test_a_table_that_no_create_makes_inside_a_function_is_told(commands, client, makes):
    body = f"explain analyze select 1; {makes}; select null::void"
    client.execute(f"create function makes() returns void language sql volatile as '{body}'")
    starts = told(commands, client, "select makes()")
    assert starts == [(0, "select makes()"), (1, makes)]
    client.execute("drop function makes()")


def test_a_copy_that_leaves_the_database_inside_a_function_is_told(commands, client):
    program, nowhere = "copy parent to program 'cat > /dev/null'", "copy parent to stdout"
    block = f"do $$begin execute $c${program}$c$; end$$"
    assert told(commands, client, block) == [(0, block), (1, program)]
    block = f"do $$begin execute $c${nowhere}$c$; end$$"
    assert told(commands, client, block) == [(0, block)]


def test_commands_that_change_the_schema_inside_a_function_have_reserved_room(nested, client):
    """They arrive although the ring for everything else is full."""
    nested.forget()
    client.execute("do $$ begin create temp table kept (a int); drop table kept; end $$")
    pid = client.info.backend_pid
    (instance,) = nested.source._instances
    urgent = [bytes(record) for record in instance.urgent.drain()]
    texts = b" ".join(record for record in urgent if record[4:8] == pid.to_bytes(4, "little"))
    assert b"create temp table kept" in texts
    assert b"drop table kept" in texts


def test_a_command_beyond_those_with_reserved_room_keeps_it_where_it_is_a_statement(nested, client):
    """Its text comes back often enough to be called by number."""
    loop = "for i in 1..40 loop execute 'create temp table u' || i || ' ()'; end loop"
    for _ in range(3):
        (_, *inside) = told(nested, client, f"do $$begin {loop}; end$$")
        assert inside[-1] == (1, "create temp table u40 ()")
        client.execute("discard temp")
    (start,) = starts(nested.run(client, "create temp table u40 ()"))
    assert start.urgent


def test_a_check_inside_a_function_lies_under_the_statement_that_causes_it(nested, client):
    block = "do $$ begin insert into child values (2); end $$"
    (_, inner, check) = told(nested, client, block)
    assert inner == (1, "insert into child values (2)")
    assert check[0] == 2


def test_deferred_triggers_are_parts_of_what_commits(nested, client):
    client.execute(
        "create table late(a int); create constraint trigger late after insert on late "
        "deferrable initially deferred for each row execute function early()"
    )
    own = (1, "insert into noted values ('row')")
    insert = "insert into late values (1)"
    assert told(nested, client, insert) == [(0, insert), own]
    assert told(nested, client, "begin", insert, "commit") == [
        (0, "begin"),
        (0, insert),
        (0, "commit"),
        own,
    ]


def test_a_rule_that_adds_a_query_shows_its_statement_once_more(nested, client):
    client.execute(
        "create table ruled(a int); "
        "create rule more as on insert to ruled do also insert into noted values ('rule')"
    )
    insert = "insert into ruled values (1)"
    assert told(nested, client, insert) == [(0, insert)]
    block = f"do $$ begin {insert}; end $$"
    assert told(nested, client, block) == [(0, block), (1, insert), (1, insert)]


def test_the_script_of_an_extension_is_told_statement_by_statement(nested, client):
    starts = told(nested, client, "create extension seg", "drop extension seg")
    inside = [text for depth, text in starts if depth == 1]
    assert len([text for text in inside if "CREATE OPERATOR < (" in text]) == 1
    assert len([text for text in inside if "COMMENT ON TYPE seg IS" in text]) == 1


def test_a_script_with_many_commands_in_one_string_tells_what_each_runs(nested, client):
    text = "select 1; select leaf(1); do 'begin perform 2; end'; select 3"
    assert told(nested, client, text) == [
        (0, text),
        (0, text),
        (1, "insert into noted values ($1::text)"),
        (1, "select count(*)::int from noted"),
        (0, text),
        (1, "SELECT 2"),
        (0, text),
    ]


def test_a_trigger_for_many_rows_loses_nothing_and_is_told_by_number(nested, client):
    client.execute("create table many(a int)")
    client.execute(
        "create trigger early before insert on many for each row execute function early()"
    )
    insert = "insert into many select generate_series(1, 5000)"
    starts = told(nested, client, insert, insert)
    assert [text for depth, text in starts if depth == 1] == 10_000 * [
        "insert into noted values ('row')"
    ]
