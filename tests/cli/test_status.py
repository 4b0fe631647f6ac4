"""`pgwarden status`: one page about collector, agents and ledger, with an exit code."""

import json
import time

import pytest
from typer.testing import CliRunner

from agent.spool.spool import Spool
from agent.wire.batch import BatchBuilder, Payload
from cli.main import app
from collector.bounds import MOST_LOST
from collector.sealed_segment import SegmentError, sealed_frame
from model.event import Lost
from protos.pgwarden.v1 import uplink_pb2 as pb
from tests.collector.road import START_US, collector_at, statements, uplink_to
from tests.collector.test_access import world_at as access_world_at
from tests.waiting import wait_until


@pytest.fixture
def spool(tmp_path):
    opened = Spool(tmp_path / "spool.db", lambda *_: None)
    yield opened
    opened.close()


def ask(folder, *options):
    configured = folder / "pgwarden.yaml"
    configured.write_text(
        f'collector: {{data_dir: {folder}/data, listen: ["unix:{folder}/collector.sock"]}}\n'
    )
    return CliRunner().invoke(app, ["status", "-c", str(configured), *options])


def test_it_tells_of_agents_losses_and_ledger_and_is_content_where_all_is_well(tmp_path, spool):
    degraded = []

    def said():
        return pb.Status(capture="both", guard_mode="enforce", degraded=degraded)

    spool.append(statements(1, 10))
    with (
        collector_at(tmp_path) as collector,
        uplink_to(collector.address, spool, status=said),
    ):
        wait_until(lambda: collector.count() == 10)
        wait_until(
            lambda: (
                [
                    (state.status.capture, state.status.spool_batches)
                    for state in collector.agents.states()
                ]
                == [("both", 0)]
            )
        )
        now = [{"occurred_at": START_US + 10**15, "agent": "host-a", "source": "ebpf",
                "reason": "statement", "count": 3}]  # fmt: skip
        collector.store.append("losses", now)
        assert collector.store.segments.flush()
        collector.store.heads.sign()
        done = ask(tmp_path, "--json")
        assert done.exit_code == 0, done.output
        found = json.loads(done.output)
        (agent,) = found["agents"]
        assert (agent["agent"], agent["version"], agent["lost"]) == ("host-a", "0.1.0", 3)
        assert agent["spool_batches"] == 0
        assert found["collector"] == "serving"
        assert found["ledger"]["entries"] == found["ledger"]["signed"] == collector.store.ledger.seq
        assert found["ledger"]["root"] == collector.store.ledger.state[1].hex()
        page = ask(tmp_path).output
        assert "host-a" in page
        assert "✓ ledger" in page
        collector.server.set_healthy(False)
        assert ask(tmp_path).exit_code == 1
        collector.server.set_healthy(True)
        degraded.append("no [bold]jsonlog\x1b")
        uplink_said = collector.agents.heard
        uplink_said("host-a", said())
        done = ask(tmp_path)
        assert done.exit_code == 1
        assert "no [bold]jsonlog\\x1b" in done.output


def test_without_a_collector_it_tells_what_the_files_say(tmp_path, spool):
    spool.append(statements(1, 10))
    with collector_at(tmp_path) as collector, uplink_to(collector.address, spool):
        wait_until(lambda: collector.count() == 10)
    done = ask(tmp_path, "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert (found["collector"], found["agents"]) == ("unreachable", [])
    assert found["ledger"]["entries"] == found["ledger"]["signed"] > 0
    next((tmp_path / "data/segments/statements").glob("*.parquet")).unlink()
    assert "left out" in json.loads(ask(tmp_path, "--json").stdout)["ledger"]["problems"][0]


@pytest.mark.parametrize(
    ("token", "remedy"),
    [("", "this takes the collector's unix socket"), ("pgw_ended", "pgwarden token issue makes")],
)
def test_a_collector_that_refuses_who_asks_is_not_called_unreachable(
    tmp_path, monkeypatch, token, remedy
):
    monkeypatch.setenv("PGWARDEN_ACCESS_TOKEN", token)
    with access_world_at(tmp_path) as world:
        configured = tmp_path / "pgwarden.yaml"
        configured.write_text(
            f"collector: {{data_dir: {tmp_path}/data, listen: ['{world.port}']}}\n"
        )
        words = ["status", "-c", str(configured)]
        told = CliRunner().invoke(app, words)
        found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert told.exit_code == 1
    page = told.stdout
    assert page.startswith("✗ the collector answers, but not to you: ")
    assert remedy in page.splitlines()[0]
    assert "unreachable" not in told.output
    assert (found["collector"], found["agents"]) == ("refused", [])
    assert remedy in found["collector_says"]


def test_a_segment_that_was_taken_out_as_damaged_is_named(tmp_path, spool):
    spool.append(statements(1, 10))
    with collector_at(tmp_path) as collector, uplink_to(collector.address, spool):
        wait_until(lambda: collector.count() == 10)
        (file,) = (f for f in collector.store.ledger.files_now() if f.table == "statements")
        (tmp_path / "data" / file.path).write_bytes(bytes(file.bytes))
        with pytest.raises(SegmentError) as found:
            sealed_frame(tmp_path / "data", file)
        collector.store.damage.found(found.value)
    named = f"{file.path} (10 rows)"
    assert json.loads(ask(tmp_path, "--json").stdout)["ledger"]["damaged"] == [named]
    assert f"! damaged, and out of the record: {named}" in ask(tmp_path).output


def test_before_the_first_start_it_says_so(tmp_path):
    done = ask(tmp_path)
    assert done.exit_code == 1
    assert "there is no signed head" in done.output


def test_certificates_that_cannot_be_read_are_named(tmp_path):
    configured = tmp_path / "pgwarden.yaml"
    missing = tmp_path / "nowhere/ca.pem"
    configured.write_text(
        f"collector:\n  data_dir: {tmp_path}/data\n  listen: ['127.0.0.1:1']\n"
        f"  tls: {{certificate: {missing}, key: {missing}, ca: {missing}}}\n"
    )
    for command in ("agents", "status"):
        done = CliRunner().invoke(app, [command, "-c", str(configured)])
        assert done.exit_code == 1
        assert f"collector.tls: {missing}: No such file or directory; run this as" in done.stderr
    assert "there is no signed head" in done.output, "what the files say is told all the same"


def test_the_socket_is_its_accounts_alone(tmp_path):
    with collector_at(tmp_path):
        assert (tmp_path / "collector.sock").stat().st_mode & 0o777 == 0o600


def test_what_one_agent_counts_beyond_all_bounds_hides_nobodys_losses(tmp_path):
    now_us = time.time_ns() // 1000
    with collector_at(tmp_path) as collector:
        for count in (2**64 - 1, 7):
            builder = BatchBuilder()
            builder.add_loss(Lost(now_us * 1000, "x", "y", 0))
            (payload,) = builder.take()
            batch = pb.Batch.FromString(payload.body)
            batch.losses[0].count = count
            spool = Spool(tmp_path / f"{count}.db", lambda *_: None)
            spool.append(Payload(batch.SerializeToString(), payload.counts))
            with uplink_to(collector.address, spool, f"host-{count % 10}") as uplink:
                assert uplink.drain(10)
            spool.close()
        # As an older release stored it.
        row = {"occurred_at": now_us, "source": "x", "reason": "y", "count": 2**64 - 1}
        collector.store.append("losses", [{**row, "agent": "host-old"}] * 2)
        assert collector.store.segments.flush()
        collector.store.heads.sign()
        found = json.loads(ask(tmp_path, "--json").output)
    assert found["ledger"]["problems"] == []
    assert {each["agent"]: each["lost"] for each in found["agents"]} == {
        "host-5": MOST_LOST,
        "host-7": 7,
    }
