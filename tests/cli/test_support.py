"""A support bundle says much and gives nothing away."""

import json
import tarfile

import yaml
from typer.testing import CliRunner

from agent.spool.spool import Spool
from agent.wire.batch import BatchBuilder
from cli.main import app
from collector.access.tokens import Tokens
from tests.collector.road import SESSION, SHAPE, collector_at, statement, uplink_to

CANARY = "k4n4ryZebra"
SECRETS = {
    "agent": {
        "clusters": [
            {"port": 1, "dsn": f"host=h user=u password='{CANARY} 1'"},
            {"port": 2, "dsn": f"postgresql://u:{CANARY}2@h/db"},
        ],
        "catalog": {
            "watched": [{"query": f"SELECT '{CANARY}' AS k", "name": "q", "key": ["k"]}]
        },
    },
    "collector": {
        "alerts": {
            "receivers": [
                {"type": "pagerduty", "name": "p", "routing_key": CANARY},
                {"type": "webhook", "name": "w", "url": f"https://hooks.example/{CANARY}?a={CANARY}",
                 "secret": CANARY},
                {"type": "alertmanager", "name": "a", "url": f"http://user:{CANARY}@am:9093"},
            ]
        },
        "ledger": {
            "tell": [{"type": "http", "url": f"https://w.example/{CANARY}", "token": CANARY + "t"}]
        },
        "analytics": {"maintenance": [{"because": f"the password is {CANARY}"}]},
    },
}  # fmt: skip


def bundle_of(folder, *options):
    config = {name: dict(section) for name, section in SECRETS.items()}
    config["agent"] |= {"state_dir": str(folder / "agent"), "metrics": {"port": 1}}
    config["collector"] |= {
        "data_dir": str(folder / "data"),
        "listen": [f"unix:{folder}/collector.sock"],
        "metrics": {"port": 1},
    }
    file = folder / "pgwarden.yaml"
    file.write_text(yaml.safe_dump(config))
    target = folder / "b.tar.gz"
    done = CliRunner().invoke(
        app, ["support", "bundle", "--no-doctor", "-c", str(file), "-o", str(target), *options]
    )
    assert done.exit_code == 0, done.output
    with tarfile.open(target) as archive:
        return target, {
            member.name.removeprefix("pgwarden-support/"): archive.extractfile(member).read()
            for member in archive
        }


def test_no_secret_of_configuration_record_keys_or_logs_is_in_it(tmp_path):
    (tmp_path / "agent").mkdir()
    log = tmp_path / "agent.log"
    log.write_text(
        f"it failed: dsn={SECRETS['agent']['clusters'][0]['dsn']}\n"
        f"POST https://hooks.example/{CANARY} failed\nrouting {CANARY}\n"
        "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\nthe end\n"
    )
    (tmp_path / "agent/digests.key").write_bytes(b"0123456789abcdef" * 2)
    spool = Spool(tmp_path / "agent/spool.db", lambda *_: None)
    builder = BatchBuilder()
    builder.add(statement(1, SESSION, text=f"SELECT '{CANARY}'".encode()), SHAPE)
    (payload,) = builder.take()
    spool.append(payload)
    with collector_at(tmp_path) as collector, uplink_to(collector.address, spool) as uplink:
        assert uplink.drain(10)
        collector.store.note("order", reason=f"because {CANARY}", by=CANARY)
        assert collector.store.segments.flush()
        secret, token = Tokens(collector.store.data_dir).issue("a", "admin", 10**12, "root")
        target, found = bundle_of(tmp_path, "--log", str(log))
    spool.close()
    assert target.stat().st_mode & 0o777 == 0o600
    key = (tmp_path / "data/ledger.key").read_bytes().splitlines()[1]
    forbidden = [CANARY.encode(), secret.encode(), token.id.encode(), key, b"0123456789abcdef"]
    leaks = [(name, each) for name, data in found.items() for each in forbidden if each in data]
    assert leaks == []
    assert b"the end" in found["log-1-agent.log"]
    ledger = json.loads(found["ledger.json"])
    assert ledger["rows"]["statements"] == 1
    assert ["order"] in [entry["notes"] for entry in ledger["newest"]]
    assert b"hooks.example" in found["configuration.json"]
    assert b"segments/statements" in found["files-collector.txt"]
    assert json.loads(found["about.json"])["packages"]["polars"]


def test_without_any_programs_it_is_made_all_the_same_and_says_what_is_missing(tmp_path):
    _, found = bundle_of(tmp_path)
    assert found["metrics-agent.txt"].startswith(b"not made: ConnectError")
    assert json.loads(found["status.json"])["collector"] == "unreachable"
    assert found["files-agent.txt"] == b"(nothing)\n"
