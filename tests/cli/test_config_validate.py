"""``pgwarden config validate`` refuses what the programs refuse, and says all of it at once."""

import socket
import subprocess
import sys

import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app
from tests.cli.forked import Program
from tests.live.postgres import free_port

REFUSED_BY_AGENT = {
    "a rule file that is not there": ({"rules": {"packs": ["/nowhere.yaml"]}}, "/nowhere.yaml"),
    "a public key that is not there": (
        {"rules": {"central": {"public_key": "/nowhere.pub"}}},
        "/nowhere.pub",
    ),
    "an identity without a pattern": (
        {"identities": [{"kind": "service", "name": "x"}]},
        "identity rule 1: give at least one of",
    ),
    "a pooler without a pattern": (
        {"identity": {"poolers": [{"name": "p"}]}},
        "pooler 1: give at least one of",
    ),
    "an address map that is not there": (
        {"identity": {"address_map": "/nowhere.yaml"}},
        "/nowhere.yaml: cannot be read",
    ),
    "a collector on the network without TLS": (
        {"collector": "10.0.0.1:5000"},
        "set agent.tls with certificate, key and ca",
    ),
    "a collector that is no address": ({"collector": "somewhere"}, "give unix:/path or host:port"),
    "a port in other digits": ({"collector": "127.0.0.1:²"}, "give unix:/path or host:port"),
}
REFUSED_BY_COLLECTOR = {
    "a maintenance on no day": (
        {
            "analytics": {
                "maintenance": [
                    {
                        "because": "backfill",
                        "weekly": [{"days": ["caturday"], "from": "01:00", "to": "02:00"}],
                    }
                ]
            }
        },
        "'backfill': the day 'caturday' is unknown",
    ),
    "a rule over findings that does not compile": (
        {"analytics": {"respond": [{"when": "finding.bits >", "do": "cancel"}]}},
        "'finding.bits >':",
    ),
    "a network address without TLS": (
        {"listen": ["0.0.0.0:5000"]},
        "set collector.tls with certificate, key and ca",
    ),
    "what is no address": ({"listen": ["somewhere"]}, "give unix:/path or host:port"),
    "a receiver that is no URL": (
        {"alerts": {"receivers": [{"type": "webhook", "name": "w", "url": "ftp://x"}]}},
        "receiver w: 'ftp://x' is not an http or https URL",
    ),
    "a URL that cannot be taken apart": (
        {"alerts": {"receivers": [{"type": "webhook", "name": "w", "url": "http://[s3cret"}]}},
        "receiver w: its url is no URL",
    ),
    "an empty key": (
        {"alerts": {"receivers": [{"type": "pagerduty", "name": "p", "routing_key": " "}]}},
        "receiver p: routing_key is empty",
    ),
    "a route to nobody": (
        {"alerts": {"routes": [{"receivers": ["pager"]}]}},
        "route 1 names unknown receivers: pager",
    ),
}
NO_FILES = {"certificate": "/no.pem", "key": "/no.pem", "ca": "/no.pem"}
SILENT = {
    "a dsn that is no connection string": (
        {"agent": {"clusters": [{"dsn": "password=s3cret nonsense"}]}},
        "agent.clusters.0.dsn: its dsn is no connection string",
    ),
    "certificates of the agent that are not there": (
        {"agent": {"collector": "c.example:1", "tls": NO_FILES}},
        "agent.tls: cannot read /no.pem",
    ),
    "certificates of the collector that are not there": (
        {"collector": {"listen": ["0.0.0.0:1"], "tls": NO_FILES}},
        "collector.tls: cannot read /no.pem",
    ),
}
"""The program starts, and works only in part or again and again not at all."""
CASES = {
    **{name: ({"agent": part}, says) for name, (part, says) in REFUSED_BY_AGENT.items()},
    **{name: ({"collector": part}, says) for name, (part, says) in REFUSED_BY_COLLECTOR.items()},
    **SILENT,
}


def write(folder, tree):
    file = folder / "pgwarden.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


def validate(file):
    return CliRunner().invoke(app, ["config", "validate", "--config", str(file)])


def run(program, file):
    return subprocess.run(
        [sys.executable, "-m", program, "--config", str(file)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_refuses(name, tmp_path):
    tree, says = CASES[name]
    done = validate(write(tmp_path, tree))
    assert done.exit_code == 78, done.output
    assert says in done.stderr
    assert "s3cret" not in done.output


def test_all_problems_are_said_at_once(tmp_path):
    tree = {"agent": {}, "collector": {}}
    for name in (
        "a rule file that is not there",
        "an identity without a pattern",
        "a collector on the network without TLS",
    ):
        tree["agent"] |= REFUSED_BY_AGENT[name][0]
    tree["agent"]["identities"] *= 2
    tree["collector"] |= {"listen": ["0.0.0.0:1", "x"]}
    tree["collector"]["alerts"] = {
        "receivers": [
            {"type": "webhook", "name": "w", "url": "no"},
            {"type": "webhook", "name": "w", "url": "no"},
        ],
        "routes": [{"receivers": ["pager"]}],
    }
    done = validate(write(tmp_path, tree))
    assert done.exit_code == 78
    for part in (
        "agent.rules", "identity rule 1", "identity rule 2", "agent.collector", "'0.0.0.0:1'",
        "'x'", "receiver w", "used twice: w", "unknown receivers: pager",
    ):  # fmt: skip
        assert part in done.stderr


def test_what_the_programs_take_is_good(tmp_path):
    tree = {
        "agent": {"clusters": [{"dsn": "postgresql://pgwarden@db/postgres"}]},
        "collector": {
            "listen": ["127.0.0.1:5000", "unix:/run/x.sock"],
            "alerts": {
                "receivers": [{"type": "webhook", "name": "w", "url": "https://h.example/x"}],
                "routes": [{"receivers": ["w"]}],
            },
        },
    }
    done = validate(write(tmp_path, tree))
    assert (done.exit_code, done.output) == (0, "✓ the configuration is good\n")


@pytest.fixture(scope="module")
def programs():
    with Program("agent") as agent, Program("collector") as collector:
        yield {"agent": agent, "collector": collector}


@pytest.mark.parametrize(
    ("program", "name"),
    [("agent", name) for name in REFUSED_BY_AGENT]
    + [("collector", name) for name in REFUSED_BY_COLLECTOR],
)
def test_the_program_ends_with_78_and_no_traceback(programs, program, name, tmp_path):
    tree, says = CASES[name]
    tree = {
        "agent": {"state_dir": str(tmp_path / "agent"), **tree.get("agent", {})},
        "collector": {"data_dir": str(tmp_path / "collector"), **tree.get("collector", {})},
    }
    code, told = programs[program].run(write(tmp_path, tree))
    assert code == 78, told
    assert "Traceback" not in told
    assert says.split(";")[0][:20] in told.replace('\\"', '"')
    assert "s3cret" not in told


def test_a_port_that_is_taken_is_no_fault_of_the_configuration(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        part = {"listen": [listen], "data_dir": str(tmp_path), "metrics": {"port": free_port()}}
        file = write(tmp_path, {"collector": part})
        assert validate(file).exit_code == 0
        done = run("collector", file)
    assert done.returncode == 1
    assert "is the port taken?" in done.stderr
    assert "Traceback" not in done.stderr
