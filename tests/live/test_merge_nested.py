"""What runs inside statements, told by the probes and by pgaudit: one row, under its parent."""

import threading
from collections import Counter

import pytest

from agent.discovery import cluster_at
from agent.sources.ebpf import EbpfSource
from model.statement import Source
from tests.live import test_merge
from tests.live.test_merge import (
    Told,
    cluster,
    compiled_probes,
    hear_until_the_end,
    loader,
    log_of,
    merged,
)

pytestmark = test_merge.pytestmark
__all__ = ["cluster", "compiled_probes", "loader"]

SCHEMA = """
create table owner(id int primary key);
create table owned(id int, owner int references owner);
insert into owner select generate_series(1, 9);
create table journal(what text);
create function noted() returns trigger language plpgsql as $$
    begin insert into journal values (tg_op); return null; end $$;
create trigger noted after insert on item for each row execute function noted();
create function deep() returns void language plpgsql as $$
    begin
      perform items();
      create temp table made as select 1;
      execute 'drop table made';
      perform add_item(901);
    end $$;
"""
INSERT_NOTED = "insert into journal values (tg_op)"
WORK = (
    "do $$ begin perform * from item; insert into item values (700, 'do'); end $$",
    "select items()",
    "select items(), items()",
    "select add_item(800)",
    "call drop_item(800)",
    "select deep()",
    "insert into item select g, 'many' from generate_series(2001, 2040) g",
    "select 1",
    INSERT_NOTED.replace("tg_op", "'by hand'"),
)
ADD_ITEM = Counter(
    {"SELECT items()": 1, "insert into item values (n, null)": 1, INSERT_NOTED: 1,
     "select count(*) from item": 1}
)  # fmt: skip
INSIDE = {
    WORK[0]: Counter(
        {"SELECT * from item": 1, "insert into item values (700, 'do')": 1, INSERT_NOTED: 1}
    ),
    WORK[1]: Counter({"select count(*) from item": 1}),
    WORK[2]: Counter({"select count(*) from item": 2}),
    WORK[3]: ADD_ITEM,
    WORK[4]: Counter({"delete from item where id = n": 1, "SELECT 1": 1}),
    WORK[5]: ADD_ITEM
    + Counter(
        {"SELECT items()": 1, "select count(*) from item": 1, "SELECT add_item(901)": 1,
         "create temp table made as select 1": 1, "drop table made": 1}
    ),
    WORK[6]: Counter({INSERT_NOTED: 40}),
    WORK[7]: Counter(),
    WORK[8]: Counter(),
}  # fmt: skip


@pytest.fixture(scope="module")
def told(cluster, loader, tmp_path_factory) -> Told:
    told = Told()
    with cluster.connect() as admin:
        admin.execute(SCHEMA)

    def work() -> None:
        with cluster.connect() as connection:
            for text in WORK:
                connection.execute(text)

    with (
        log_of(cluster, tmp_path_factory.mktemp("log")) as log,
        EbpfSource(loader=loader, grouped=False, nested=True) as probe,
    ):
        probe.add(cluster_at(cluster.postmaster_pid))
        worker = threading.Thread(target=work)
        worker.start()
        while worker.is_alive():
            told.hear(probe, log)
        hear_until_the_end(cluster, probe, log, told)
        assert probe.losses() == log.losses() == []
    return told


@pytest.mark.parametrize("order", ["as polled", "probe first", "log first", "by time"])
def test_a_nested_statement_that_both_tell_of_is_one_row(told, order):
    said = merged(told.orders()[order])
    by_id = {s.id: s for s in said}
    assert len(by_id) == len(said)

    def top(statement):
        while statement.parent_id:
            statement = by_id[statement.parent_id]
        return statement

    inside = {s.text.decode(): Counter() for s in said if not s.parent_id}
    for statement in said:
        if statement.parent_id:
            inside[top(statement).text.decode()][statement.text.decode()] += 1
    assert {text: inside[text] for text in WORK} == INSIDE
    alone = [s.text.decode() for s in said if s.source is not Source.BOTH]
    assert alone == []


def test_how_long_a_nested_statement_ran_and_what_it_gave_is_unknown(told):
    nested = [s for s in merged(told.as_polled) if s.parent_id]
    assert nested
    assert {(s.duration_us, s.rows, s.sqlstate) for s in nested} == {(-1, -1, "")}


def test_pgaudit_tells_of_foreign_key_checks_too(cluster, loader, tmp_path):
    told = Told()
    with (
        log_of(cluster, tmp_path) as log,
        EbpfSource(loader=loader, grouped=False, nested=True) as probe,
        cluster.connect() as connection,
    ):
        probe.add(cluster_at(cluster.postmaster_pid))
        connection.execute("insert into owned values (1, 1)")
        hear_until_the_end(cluster, probe, log, told)
    checks = [s for s in merged(told.as_polled) if s.text.startswith(b"SELECT 1 FROM ONLY")]
    assert [s.source for s in checks] == [Source.BOTH]
