"""``pgwarden drift`` against a collector's real Operator service."""

from __future__ import annotations

import json
from concurrent import futures

import grpc
import pytest
import yaml
from typer.testing import CliRunner

from cli.drift import app
from collector.commands import Agents
from collector.operator import OperatorService, Tails
from collector.sessions import LiveSessions
from protos.pgwarden.v1 import operator_pb2_grpc
from tests.collector.test_drift import GRANT, WORK_MEM, World, alter_system, snapshot


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "state")


@pytest.fixture
def config(world, tmp_path):
    """A configuration that names the unix socket of a server with this world's Drift."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    service = OperatorService(Agents(), LiveSessions(), Tails(), world.drift)
    operator_pb2_grpc.add_OperatorServicer_to_server(service, server)
    address = f"unix:{tmp_path}/collector.sock"
    server.add_insecure_port(address)
    server.start()
    path = tmp_path / "pgwarden.yaml"
    path.write_text(yaml.safe_dump({"collector": {"listen": [address]}}))
    yield path
    server.stop(0).wait(5)


def run(config, *words):
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, [*words, "--config", str(config)])


def drifted(world):
    world.commit(0, snapshot(0))
    did = alter_system("bob", 5, "work_mem")
    world.commit(6, snapshot(6, {**WORK_MEM, **GRANT}), statements=[did])
    world.tick(20)


def test_without_a_baseline_status_says_what_is_missing(config):
    done = run(config, "status")
    assert done.exit_code == 0
    assert "no baseline yet" in done.stderr


def test_no_difference_is_good(world, config):
    world.commit(0, snapshot(0))
    done = run(config, "status")
    assert done.exit_code == 0
    assert "baseline accepted by pgwarden (first snapshot)" in done.stdout
    assert "no difference" in done.stdout


def test_differences_are_shown_with_who_made_them_and_exit_1(world, config):
    drifted(world)
    done = run(config, "status")
    assert done.exit_code == 1
    lines = {line.split()[3]: line for line in done.stdout.splitlines() if "host-a" in line}
    assert "4MB" in lines["work_mem"]
    assert lines["work_mem"].rstrip().endswith("bob")
    assert lines["table:hr.salaries<-analyst"].rstrip().endswith("nobody on the wire")


def test_json_has_a_row_a_line_with_the_columns_of_the_view(world, config):
    drifted(world)
    done = run(config, "status", "--json")
    assert done.exit_code == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["name"]: row["actor"] for row in rows} == {
        "work_mem": "bob",
        "table:hr.salaries<-analyst": "",
    }


def test_accepting_makes_the_next_status_good(world, config):
    drifted(world)
    done = run(config, "accept", "--by", "anna", "--reason", "ticket 7")
    assert (done.exit_code, "12 items" in done.stdout) == (0, True)
    after = run(config, "status")
    assert (after.exit_code, "accepted by anna" in after.stdout) == (0, True)


def test_accepting_needs_a_reason(config):
    assert run(config, "accept", "--by", "anna").exit_code == 2
    assert run(config, "accept", "--by", "anna", "--reason", " ").exit_code == 2


def test_a_name_with_terminal_codes_or_markup_is_shown_harmless(world, config):
    world.commit(0, snapshot(0))
    world.commit(6, snapshot(6, {("role", "", "x\x1b[31m[red]"): ("superuser=true", "")}))
    world.tick(20)
    done = run(config, "status")
    assert "\x1b[31m" not in done.stdout
    assert "x\\x1b[31m[red]" in done.stdout


def test_a_collector_that_is_down_is_named_with_the_remedy(tmp_path):
    path = tmp_path / "pgwarden.yaml"
    path.write_text(yaml.safe_dump({"collector": {"listen": [f"unix:{tmp_path}/none.sock"]}}))
    done = run(path, "status")
    assert done.exit_code == 1
    assert "pgwarden up" in done.stderr
