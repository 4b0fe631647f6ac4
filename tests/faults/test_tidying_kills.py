"""SIGKILL while segments are merged, compacted, expired and retained, and heads signed."""

import json
import os
import time

from collector.pgwarden_verify import check_folder
from collector.store import Store, open_views
from collector.store_check import check_store
from tests.faults import tidier
from tests.faults.forked import Forked
from tests.faults.tidier import FRESH, HELD, OLD, reason_of, row_of

ROUNDS = int(os.environ.get("PGWARDEN_KILLS", "1000"))
START_SECONDS = 60.0


def test_what_is_held_or_fresh_is_there_once_whenever_it_is_killed(tmp_path, tier, dice):
    now_us = time.time_ns() // 1000
    said, log = tmp_path / "said", tmp_path / "log"
    durable, first = set(), 1
    rounds = tier(10, ROUNDS)
    for _ in range(rounds):
        running = Forked(tidier.main, tmp_path, first, now_us, said=said, log=log)
        tidier.wait_for_more(said, START_SECONDS)
        assert said.stat().st_size, log.read_text()
        time.sleep(dice.uniform(0, 1.0))
        running.kill()
        whole, _, _ = said.read_text().rpartition("\n")
        durable |= {int(line) for line in whole.splitlines()}
        first = max(durable) + 2  # one that was not said may be there all the same
    assert check_folder(tmp_path / "data", tmp_path / "heads.jsonl").problems == []
    store = Store(tmp_path / "data")
    assert store.contradictions == []
    store.close()
    assert check_store(tmp_path / "data").problems == []
    with open_views(tmp_path / "data") as views:
        rows = [row for (row,) in views.execute("SELECT id FROM statements").fetchall()]
        losses = [why for (why,) in views.execute("SELECT reason FROM losses").fetchall()]
    print(f"{rounds} kills, {len(durable)} rounds durable, {len(rows)} rows left")
    assert len(rows) == len({*rows})
    assert len(losses) == len({*losses})
    kept = {row_of(number, age) for number in durable for age in (HELD, FRESH)}
    assert kept <= {*rows}
    assert {reason_of(number, age) for number in durable for age in (HELD, FRESH)} <= {*losses}
    old = {number for number in durable if row_of(number, OLD) in rows}
    assert len(old) < len(durable), "retention was at work"
    reasons = {json.loads(line)["reason"] for line in (tmp_path / "data/ledger.jsonl").open()}
    assert {"merged", "retention"} <= reasons
