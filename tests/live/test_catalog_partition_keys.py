"""Foreign keys to a partitioned table, on every version: each partition of it makes one more."""

import pytest

from agent.catalog import take_snapshot
from model.catalog import CatalogKind
from tests.conformance.servers import MAJORS, Server, installation

pytestmark = [pytest.mark.live, pytest.mark.slow]

SETUP = """
CREATE SCHEMA hr;
CREATE TABLE hr.p (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE hr.p_1 PARTITION OF hr.p FOR VALUES FROM (0) TO (10);
CREATE TABLE hr.r (at int, p int CONSTRAINT to_p REFERENCES hr.p ON DELETE CASCADE,
    q int CONSTRAINT to_one REFERENCES hr.p_1) PARTITION BY RANGE (at);
CREATE TABLE hr.r_1 PARTITION OF hr.r FOR VALUES FROM (0) TO (10);
ALTER TABLE hr.p ADD up int CONSTRAINT up REFERENCES hr.p;
"""
MORE = """
CREATE TABLE hr.p_2 PARTITION OF hr.p FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
CREATE TABLE hr.p_2a PARTITION OF hr.p_2 FOR VALUES FROM (10) TO (12);
"""
TO_P = "constraint to_p: FOREIGN KEY (p) REFERENCES hr.p(id) ON DELETE CASCADE"
TO_ONE = "constraint to_one: FOREIGN KEY (q) REFERENCES hr.p_1(id)"


@pytest.mark.parametrize("major", MAJORS)
def test_a_new_partition_of_what_is_referred_to_changes_nothing_of_who_refers_to_it(major):
    if not (installation(major) / "bin" / "postgres").exists():
        pytest.skip(f"PostgreSQL {major} is not installed: ./run conformance installs it")
    with Server(major=major, pgaudit=False) as server, server.connect() as admin:
        admin.execute(SETUP)
        before = _tables(admin)
        admin.execute(MORE)
        after = _tables(admin)
    assert {name: after[name] for name in before} == before
    for name in ("hr.r", "hr.r_1"):
        value, _ = after[name]
        assert [line for line in value.splitlines() if "FOREIGN KEY" in line] == [TO_ONE, TO_P]
    own, detail = after["hr.p"]
    assert own.count("FOREIGN KEY") == 1
    assert len(detail.partition("constraint ")[2].split(",")) == 2, "the key, and the one to itself"


def _tables(connection):
    snapshot = take_snapshot(connection, "x", kinds=frozenset({CatalogKind.TABLE}))
    assert snapshot.problems == ()
    return {item.name: (item.value, item.detail) for item in snapshot.items}
