"""The gate of a running collector: once over restarts, muted by configuration, moved by people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from analytics.findings import DAY_US
from analytics.gate import Agreement, GateSettings
from analytics.gate.population import Population
from collector.gatekeeper import FILE, Gatekeeper
from collector.maintenance import MaintenanceError, mutes
from collector.responding import Responder, RespondError, suspects
from collector.store import frame_of
from config.schema import Analytics, MaintenanceEntry, Response, WindowOpening
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.analytics.gate.candidates import START_US, candidate
from tests.analytics.streams import START_US as STREAM_US
from tests.analytics.streams import frame, statement


@pytest.fixture
def keeper(tmp_path):
    return Gatekeeper(tmp_path, GateSettings())


def restarted(tmp_path):
    return Gatekeeper(tmp_path, GateSettings())


def feedback(raised, opinion="dismissed"):
    finding = raised.finding
    row = {
        "occurred_at": START_US, "finding_id": finding.id, "opinion": opinion, "author": "carol",
        "because": "month end", "detector": finding.detector, "agent": finding.agent,
        "cluster": finding.cluster, "identity": finding.identity, "object": finding.object,
        "bits": raised.bits, "threshold": raised.threshold,
    }  # fmt: skip
    return frame_of("finding_feedback", [row])


def test_a_commit_is_judged_once_over_a_restart(tmp_path, keeper):
    assert len(keeper.judge([candidate(9)], 5, START_US)) == 1
    keeper.save()
    again = restarted(tmp_path)
    assert again.judge([candidate(9)], 5, START_US) == []
    assert again.gate == keeper.gate


def test_what_was_raised_is_told_again_until_it_is_durable(tmp_path, keeper):
    [raised] = keeper.judge([candidate(9)], 1, START_US)
    keeper.save()
    again = restarted(tmp_path)
    assert again.untold() == [raised.finding]
    again.told([raised.finding.id])
    again.save()
    assert restarted(tmp_path).untold() == []


def test_feedback_in_a_commit_moves_the_threshold_and_survives_a_restart(tmp_path, keeper):
    [raised] = keeper.judge([candidate(9)], 1, START_US)
    keeper.judge([], 2, START_US, feedback=feedback(raised))
    keeper.save()
    [moved] = restarted(tmp_path).gate.opinions.shifts().values()
    assert moved > 0
    assert keeper.judge([candidate(9, START_US + DAY_US)], 3, START_US + DAY_US) == []


def test_a_damaged_file_is_set_aside_and_learnt_anew(tmp_path, keeper):
    keeper.judge([candidate(9)], 1, START_US)
    keeper.save()
    (tmp_path / FILE).write_bytes(b'{"seq": 1')
    again = restarted(tmp_path)
    assert again.lost
    assert (again.seq, again.gate.cases) == (0, {})
    assert (tmp_path / FILE).with_suffix(".damaged").exists()


def test_identities_are_counted_by_day_and_server():
    rows = [statement(n, user_name=f"u{n % 3}") for n in range(9)]
    rows.append(statement(9, user_name="u1", cluster="5433"))
    rows.append(statement(9, user_name="u1", identity_name="alice"))
    day = Population().with_(frame(rows), STREAM_US)
    assert len(day.known) == 5
    assert day.with_(frame(rows), STREAM_US) == day
    assert len(day.with_(frame(rows[:1]), STREAM_US + DAY_US).known) == 1


def test_a_maintenance_once_and_one_every_week_are_open_when_they_say():
    begin = datetime(2026, 3, 4, 22, tzinfo=UTC)
    once = MaintenanceEntry(because="upgrade", starts=begin, ends=begin + timedelta(hours=2))
    opening = WindowOpening(**{"days": ["sat"], "from": "23:00", "to": "01:00"})
    weekly = MaintenanceEntry(because="backfill", weekly=[opening], identity="etl*")
    first, second = mutes([once, weekly])

    def at(*time):
        return int(datetime(*time, tzinfo=UTC).timestamp() * 1e6)

    assert [first.is_open(at(2026, 3, 4, hour)) for hour in (21, 22, 23)] == [False, True, True]
    assert not first.is_open(at(2026, 3, 5, 0))
    assert second.is_open(at(2026, 3, 7, 23, 30))
    assert second.is_open(at(2026, 3, 8, 0, 30))
    assert not second.is_open(at(2026, 3, 8, 1))
    assert second.covers(candidate(1, identity="etl_ro"), at(2026, 3, 7, 23, 30))
    assert not second.covers(candidate(1, identity="alice"), at(2026, 3, 7, 23, 30))


def test_a_window_that_cannot_be_read_is_named():
    opening = WindowOpening(**{"days": ["caturday"], "from": "23:00", "to": "01:00"})
    with pytest.raises(MaintenanceError, match="caturday"):
        mutes([MaintenanceEntry(because="x", weekly=[opening])])


def made(now_us=STREAM_US, **words):
    orders: list[tuple[str, pb.Command]] = []

    def order(agent, command):
        orders.append((agent, command))
        return pb.CommandResult(outcome="done")

    return Responder(Analytics(**words), order, lambda: now_us / 1e6), orders


def test_an_order_that_waited_for_others_too_long_is_not_given():
    """A person knows by then, and the session does something else."""
    responder, orders = made(STREAM_US + 121_000_000, on_agreement="cancel")
    assert ordered(responder, orders, suspected()) == []


def suspected(detectors=("error_burst",), **words):
    found = candidate(9, STREAM_US, statement_id=3, **words)
    agreements = [Agreement(found, detectors, "case")] if detectors else []
    rows = frame([statement(1, pid=40 + n) for n in range(5)])
    return suspects([found], agreements, rows)


def ordered(responder, orders, found, now_us=STREAM_US):
    responder.start()
    responder.offer(found, now_us)
    responder.stop()
    return orders


def test_the_session_of_an_agreement_is_the_one_of_its_statement():
    [suspect] = suspected()
    assert (suspect.pid, suspect.agrees) == (42, ("error_burst",))
    assert suspects([suspect.finding], [], pl.DataFrame(schema=frame([]).schema)) == []


def test_by_default_no_finding_ends_a_session():
    assert ordered(*made(), suspected()) == []


@pytest.mark.parametrize("response", ["cancel", "terminate"])
def test_an_agreement_orders_what_is_configured_once(response):
    responder, orders = made(on_agreement=response)
    [(agent, command)] = ordered(responder, orders, [*suspected(), *suspected()])
    assert agent == "host-a"
    assert (command.kind, command.pid, command.cluster) == (response, 42, "5432")
    assert command.requested_by == "analytics"
    assert "volume, and error_burst" in command.reason


def test_a_single_statistical_finding_never_does():
    assert ordered(*made(on_agreement="terminate"), suspected(detectors=())) == []


def test_an_order_that_comes_too_late_is_not_given():
    assert ordered(*made(on_agreement="terminate"), suspected(), STREAM_US + 300_000_000) == []


def test_a_rule_over_a_finding_may_end_a_session():
    rule = {"when": 'finding.detector == "volume" && finding.agrees >= 2', "do": "cancel"}
    responder, _ = made(respond=[rule])
    assert [responder.decide(each) for each in suspected()] == [Response.CANCEL]
    assert [responder.decide(each) for each in suspected(())] == [Response.NONE]
    [other] = suspected(detector="slow_drip")
    assert responder.decide(other) is Response.NONE


def test_the_strongest_answer_counts():
    rule = {"when": "finding.bits >= 0.0", "do": "cancel"}
    responder, _ = made(on_agreement="terminate", respond=[rule])
    assert [responder.decide(each) for each in suspected()] == [Response.TERMINATE]


def test_a_rule_that_does_not_compile_is_an_error_and_one_that_fails_does_nothing():
    with pytest.raises(RespondError, match="finding"):
        made(respond=[{"when": "finding.detector ==", "do": "cancel"}])
    responder, _ = made(respond=[{"when": "finding.nonsense > 3", "do": "cancel"}])
    assert [responder.decide(each) for each in suspected()] == [Response.NONE]
