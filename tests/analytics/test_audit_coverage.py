"""Minutes of backends: what counts as missed, by whom, and what does not."""

from __future__ import annotations

import polars as pl
import pytest

from analytics.audit import classes
from analytics.audit.policy import AuditPolicy, with_mask
from analytics.detectors.audit_coverage import AuditCoverage, AuditCoverageSettings
from model.verdict import Severity
from tests.analytics.streams import START_US, batches, frame, statement

DETECTOR = AuditCoverage()
OFFSET = -(START_US // 1_000_000) % 60
"""Seconds of the stream until a full minute begins."""
SUPERUSER = {"user_name": "root", "pid": 99}
PGAUDIT_ON = {"shared_preload_libraries": ("pg_stat_statements, pgaudit", "")}


def at(second, source="both", **words):
    words = {"digest": words.get("text", "t"), "duration_us": 0} | words
    return statement(OFFSET + second, source=source, **words)


def ordinary(until=200.0, **words):
    """A statement a second that both sources saw, from before the first full minute."""
    return [at(n, **words) for n in range(-50, int(until))]


def told(rows, detector=DETECTOR, size=500, losses=None):
    rows = sorted(rows, key=lambda row: row["started_at"])
    state, done = detector.empty_state(), []
    for part in batches(frame(rows), size):
        if losses is not None:
            state, losses = detector.lost(state, losses), None
        state, news = detector.measure(state, part)
        done += news
    return done


def found(rows, **words):
    return DETECTOR.findings(told(rows, **words))


def lost(second, count, source="ebpf", reason="ring_full"):
    return pl.DataFrame(
        {
            "occurred_at": [START_US + int((OFFSET + second) * 1e6)],
            "agent": ["host-a"],
            "source": [source],
            "reason": [reason],
            "count": [count],
        }
    ).with_columns(pl.col("occurred_at").cast(pl.Datetime("us")))


def test_a_minute_that_both_saw_alike_has_ratio_one_and_no_finding():
    minutes = told(ordinary())
    assert {(m.ratio("pgaudit"), m.ratio("ebpf")) for m in minutes} == {(1.0, 1.0)}
    assert [m.matched for m in minutes] == [50, 60, 60, 60]
    assert DETECTOR.findings(minutes) == []


def test_statements_past_pgaudit_are_one_finding_that_names_the_backend_and_the_texts():
    rows = [at(70 + n, "ebpf", text=f"SELECT {n}", **SUPERUSER) for n in range(5)]
    (finding,) = found([*ordinary(), *rows])
    assert finding.sentence == (
        "pgaudit did not log 5 of 5 statements that eBPF saw of root (backend 99) within 60 s"
    )
    assert finding.severity is Severity.HIGH
    details = dict(finding.details)
    assert [details[f"example_{n}"] for n in (1, 2, 3)] == ["SELECT 0", "SELECT 1", "SELECT 2"]
    assert "example_4" not in details


def test_statements_past_the_probes_are_a_finding_about_ebpf():
    (finding,) = found([*ordinary(), at(70, "pgaudit", **SUPERUSER)])
    assert finding.sentence.startswith("eBPF did not see 1 of 1 statements that pgaudit logged")
    assert (finding.object, finding.severity) == ("ebpf", Severity.MEDIUM)


def test_the_two_halves_of_one_statement_are_no_gap_even_across_the_edge_of_a_minute():
    rows = [at(59.9, "ebpf", text="x"), at(60.1, "pgaudit", text="x")]
    rows += [at(119.9, "pgaudit", text="y"), at(120.4, "ebpf", text="y")]
    minutes = told([*ordinary(), *rows])
    assert all(m.ratio("pgaudit") == m.ratio("ebpf") == 1.0 for m in minutes)
    assert sum(m.matched for m in minutes) == 230 + 2


def test_one_half_stands_for_one_statement_only():
    rows = [at(70, "ebpf", text="x"), at(71, "ebpf", text="x"), at(72, "pgaudit", text="x")]
    (finding,) = found([*ordinary(), *rows])
    assert dict(finding.details)["missed"] == "1"


def test_halves_of_two_backends_do_not_make_one_statement():
    rows = [at(70, "ebpf", text="x"), at(71, "pgaudit", text="x", **SUPERUSER)]
    assert {f.object for f in found([*ordinary(), *rows])} == {"pgaudit", "ebpf"}


def test_a_record_that_went_to_a_failed_run_of_the_same_text_stands_for_the_good_one():
    rows = [at(70, "both", text="x", sqlstate="25P01"), at(70.0004, "ebpf", text="x")]
    minutes = told([*ordinary(), *rows])
    assert sum(m.missed["pgaudit"] for m in minutes) == 0
    assert sum(m.exempt.get("failed", 0) for m in minutes) == 1


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("failed", {"sqlstate": "42501"}),
        ("failed", {"sqlstate": ""}),
        ("failed", {"operation": "alter", "sqlstate": "23514", "tag": ""}),
        ("aborted_transaction", {"operation": "commit", "tag": "ROLLBACK"}),
        ("fastpath", {"protocol": "fastpath"}),
        ("replication_command", {"protocol": "replication", "parse_status": "invalid"}),
        ("nested", {"parent_id": 7}),
    ],
)
def test_what_pgaudit_by_design_does_not_log_is_exempt_and_counted(reason, words):
    minutes = told([*ordinary(), at(70, "ebpf", **words)])
    assert DETECTOR.findings(minutes) == []
    assert [m.exempt for m in minutes if m.exempt] == [{reason: 1}]


@pytest.mark.parametrize(
    "words",
    [
        {"operation": "insert", "sqlstate": "23505", "tag": ""},
        {"protocol": "replication"},
        {"operation": "set", "tag": "SET", "text": "SET pgaudit.log = ?"},
        {"parse_status": "too_long"},
    ],
)
def test_what_pgaudit_does_log_is_demanded(words):
    assert len(found([*ordinary(), at(70, "ebpf", **words)])) == 1


def test_a_background_worker_is_not_expected_of_the_probes():
    minutes = told([*ordinary(), at(70, "pgaudit", client_address="", **SUPERUSER)])
    assert [m.exempt for m in minutes if m.exempt] == [{"no_client": 1}]


@pytest.mark.parametrize(("only", "silent"), [("ebpf", "pgaudit"), ("pgaudit", "ebpf")])
def test_a_server_of_one_source_has_no_number_and_no_finding(only, silent):
    minutes = told([row | {"source": only} for row in ordinary()])
    assert DETECTOR.findings(minutes) == []
    assert {m.ratio(silent) for m in minutes} == {None}
    assert set(minutes[-1].exempt) == {f"{silent}_not_heard"}


def test_a_source_that_falls_silent_for_all_is_a_finding():
    rows = [row | {"source": "ebpf"} if n >= 110 else row for n, row in enumerate(ordinary())]
    news = found(rows)
    assert {f.object for f in news} == {"pgaudit"}
    # Said once a day, however long it lasts.
    assert len(news) == 2
    assert len({f.id for f in news}) == 1


def test_a_gap_that_was_told_hides_no_other_sort_of_gap_of_that_backend_and_day():
    one, two, three = (
        at(second, "ebpf", pid=7, backend_started_at=1, text=text, operation=word)
        for second, text, word in (
            (70, "SELECT 24", "select"), (130, "SELECT 25", "select"), (190, "DROP TABLE t", "drop")
        )
    )  # fmt: skip
    beside = [at(second, "both", pid=7, backend_started_at=1) for second in (71, 131, 191)]
    silent = at(250, "ebpf", pid=7, backend_started_at=1, text="SELECT 26", operation="select")
    news = found([*ordinary(400), one, two, three, *beside, silent])
    assert {dict(f.details)["pid"] for f in news} == {"7"}
    first, again, dropped, all_of_it = (f.id for f in news)
    assert first == again
    assert len({first, dropped, all_of_it}) == 3


def test_a_source_that_was_silent_for_a_day_is_taken_to_be_off():
    brief = AuditCoverage(AuditCoverageSettings(forget_seconds=120))
    rows = ordinary(30) + [row | {"source": "ebpf"} for row in ordinary(900)[80:]]
    minutes = told(rows, brief)
    assert minutes[1].missed["pgaudit"] > 0
    assert minutes[-1].missed["pgaudit"] == 0


def test_a_loss_in_that_minute_is_told_and_explains_as_much_as_was_lost():
    rows = [*ordinary(), at(70, "pgaudit"), at(71, "pgaudit", text="z")]
    (explained,) = found(rows, losses=lost(75, 30))
    assert explained.severity is Severity.LOW
    assert explained.sentence.endswith("; 30 facts were counted as lost then")
    assert dict(explained.details)["lost: ebpf ring_full"] == "30"
    (unexplained,) = found(rows, losses=lost(75, 1))
    assert unexplained.severity is Severity.MEDIUM
    (elsewhere,) = found(rows, losses=lost(75, 30, "rules", "evaluation_failed"))
    assert "lost" not in elsewhere.sentence


@pytest.mark.parametrize("reason", ["audit_record_late", "refused_unread"])
def test_what_a_client_can_bring_about_explains_no_silence(reason):
    """No statement lacks its other half for it."""
    (silent,) = found([*ordinary(), at(70, "ebpf")], losses=lost(75, 30, "sessions", reason))
    assert silent.severity is Severity.HIGH
    assert "lost" not in silent.sentence


def test_many_backends_in_one_minute_are_one_finding():
    rows = [at(70 + n, "ebpf", user_name=f"u{n}", pid=n) for n in range(9)]
    (finding,) = found([*ordinary(), *rows])
    assert finding.sentence.startswith("pgaudit did not log 9 of 9 statements that eBPF saw of 9 ")


def test_a_statement_counts_in_the_minute_in_which_it_ended():
    minutes = told([*ordinary(), at(10, "ebpf", duration_us=100_000_000, **SUPERUSER)])
    (mine,) = [m for m in minutes if m.pid == 99]
    assert mine.from_us == START_US + (OFFSET + 60) * 1_000_000


def test_what_comes_late_is_counted_in_the_oldest_minute_that_is_open():
    rows = sorted(ordinary(), key=lambda row: row["started_at"])
    late = [*rows[:200], at(5, "ebpf", **SUPERUSER), *rows[200:]]
    _, done = DETECTOR.measure(DETECTOR.empty_state(), frame(late))
    (mine,) = [m for m in done if m.pid == 99]
    assert mine.missed["pgaudit"] == 1
    assert mine.from_us == START_US + (OFFSET + 120) * 1_000_000


def test_on_a_server_that_falls_quiet_the_collectors_clock_closes_the_minute():
    rows = [*ordinary(70), at(69.5, "ebpf", **SUPERUSER)]
    state, _ = DETECTOR.measure(DETECTOR.empty_state(), frame(rows))
    end_us = START_US + (OFFSET + 120) * 1_000_000
    early, before = DETECTOR.settle(state, end_us + 29_000_000)
    assert {minute.pid for minute in before} == {4711}
    after, minutes = DETECTOR.settle(early, end_us + 31_000_000)
    assert [f.identity for f in DETECTOR.findings(minutes)] == ["root"]
    assert after.filter(pl.col("kind") == "window").is_empty()


def test_an_agent_whose_clock_was_ahead_does_not_stop_the_minutes():
    ahead = at(10_000, **SUPERUSER)
    state, _ = DETECTOR.measure(DETECTOR.empty_state(), frame([*ordinary(70), ahead]))
    now_us = START_US + (OFFSET + 75) * 1_000_000
    state, _ = DETECTOR.settle(state, now_us)
    rows = [at(n) for n in range(75, 200)] + [at(130, "ebpf", **SUPERUSER)]
    rows.sort(key=lambda row: row["started_at"])
    _, done = DETECTOR.measure(state, frame(rows))
    assert [f.identity for f in DETECTOR.findings(done)] == ["root"]


SETTINGS = PGAUDIT_ON | {"pgaudit.log": ("read, write", ""), "pgaudit.log_catalog": ("off", "")}


@pytest.mark.parametrize(
    ("settings", "user", "database", "mask"),
    [
        ({}, "app", "shop", None),
        ({"pgaudit.log": ("all", "")}, "app", "shop", None),
        (PGAUDIT_ON, "app", "shop", classes.CATALOG),
        (SETTINGS, "app", "shop", classes.READ | classes.WRITE),
        (SETTINGS | {"pgaudit.log@app": ("none", "of a role")}, "app", "shop", 0),
        (SETTINGS | {"pgaudit.log@app": ("ddl", "of a database")}, "app", "app", classes.DDL),
        (SETTINGS | {"pgaudit.log@app": ("ddl", "of a database")}, "app", "shop", 3),
        (SETTINGS | {"pgaudit.log@all": ("role", "of a database")}, "app", "shop", classes.ROLE),
        (
            SETTINGS
            | {"pgaudit.log@app": ("ddl", "of a role")}
            | {"pgaudit.log@app/shop": ("all", "of a role")},
            "app",
            "shop",
            classes.ALL,
        ),
        (SETTINGS | {"log_min_messages": ("panic", "")}, "app", "shop", None),
        (SETTINGS | {"pgaudit.log_level": ("notice", "")}, "app", "shop", None),
        (
            SETTINGS
            | {"pgaudit.log_level": ("notice", ""), "log_min_messages": ("info", "")},
            "app",
            "shop",
            3,
        ),
    ],
)  # fmt: skip
def test_the_expectation_follows_the_accepted_settings(settings, user, database, mask):
    assert AuditPolicy.of(settings).mask(user, database) == mask


def test_a_server_without_pgaudit_is_not_applicable():
    rows = frame([*ordinary(70), at(70, "ebpf", **SUPERUSER), *ordinary()[120:]])
    masked = with_mask(rows, {("host-a", "5432"): AuditPolicy.of({})})
    _, done = DETECTOR.measure(DETECTOR.empty_state(), masked)
    assert [m.exempt for m in done if m.pid == 99] == [{"not_applicable": 1}]


def test_with_log_catalog_off_a_read_of_the_catalog_alone_is_exempt():
    policy = AuditPolicy.of(SETTINGS)
    rows = [
        at(70, "ebpf", reads=["pg_class"], text="a"),
        at(71, "ebpf", reads=["pg_class", "shop.orders"], text="b"),
        at(72, "ebpf", reads=["pg_class", "shop.orders"], text="c", flags=["multi"]),
        at(73, "ebpf", operation="create", tag="CREATE TABLE", text="d"),
    ]
    masked = with_mask(
        frame([*ordinary(70), *rows, *ordinary()[120:]]), {("host-a", "5432"): policy}
    )
    _, done = DETECTOR.measure(DETECTOR.empty_state(), masked)
    (minute,) = [m for m in done if m.exempt]
    assert minute.exempt == {"catalog_only": 2, "class_off": 1}
    assert [example.text for example in minute.examples["pgaudit"]] == ["b"]
