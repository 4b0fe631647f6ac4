"""A table of a thousand columns costs no more than its size."""

from __future__ import annotations

from collector.drift import lines
from tests.collector.drift.story import cause_of, ran

COLUMNS = 1_000


def test_lines_of_a_wide_table_are_parted_a_few_times_and_not_for_each_line(monkeypatch):
    plain, parted = lines._pair, list[str]()

    def pair(line):
        parted.append(line)
        return plain(line)

    monkeypatch.setattr(lines, "_pair", pair)
    added = ", ".join(f"ADD COLUMN c{number} integer" for number in range(COLUMNS))
    after = "\n".join(f"column c{number}: integer" for number in range(COLUMNS))
    done = [ran(1, "alice", f"ALTER TABLE hr.t {added}")]
    found = cause_of(done, "table", "hr.t", "kind: table", f"kind: table\n{after}")
    assert found is not None
    assert found.change.actor == "alice"
    assert len(parted) < 100 * COLUMNS
