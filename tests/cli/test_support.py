"""A support bundle says much and gives nothing away."""

import json
import tarfile
from base64 import b64encode
from urllib.parse import quote, quote_plus

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


def bundle_of(folder, *options, secrets=SECRETS):
    config = {name: dict(section) for name, section in secrets.items()}
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


ODD = {
    "agent": {
        "clusters": [
            {"port": 1, "dsn": "postgresql://u:p%40ss-word-%C3%BC@h/db"},
            {"port": 2, "dsn": r"host=h password='it\'s a \\ secret' user=u"},
            {"port": 3, "dsn": "postgresql://h/db?password=que%2Fry-pass"},
        ]
    },
    "collector": {
        "alerts": {
            "receivers": [
                {"type": "pagerduty", "name": "p", "routing_key": "gr\u00fc\u00dfe-canary"},
                {
                    "type": "webhook",
                    "name": "w",
                    "url": "https://h.example/",
                    "secret": 'ab"cd\\ef-c',
                },
            ]
        }
    },
}
BARE = [
    "p@ss-word-\u00fc",
    r"it's a \ secret",
    "que/ry-pass",
    "gr\u00fc\u00dfe-canary",
    'ab"cd\\ef-c',
]


def test_a_secret_is_found_in_whatever_way_a_log_writes_it(tmp_path):
    lines = [
        form
        for secret in BARE
        for form in (
            f"<<{secret}>>",
            json.dumps({"error": f"<<{secret}>>"}),
            json.dumps({"error": f"<<{secret}>>"}, ensure_ascii=False),
            json.dumps({"nested": json.dumps({"error": f"<<{secret}>>"})}),
            f"<<{quote(secret, safe='')}>>",
            f"<<{quote_plus(secret)}>>",
            f"<<{b64encode(secret.encode()).decode()}>>",
        )
    ]
    log = tmp_path / "log.jsonl"
    log.write_text("\n".join(lines) + "\n")
    _, found = bundle_of(tmp_path, "--log", str(log), secrets=ODD)
    told = found["log-1-log.jsonl"].decode().splitlines()
    assert len(told) == len(lines)
    for line, before in zip(told, lines, strict=True):
        assert "<<(hidden)>>" in line, before


def test_tokens_are_hidden_by_their_form_and_place(tmp_path):
    secret, _ = Tokens(tmp_path).issue("a", "admin", 10**12, "root")
    log = tmp_path / "log"
    log.write_text(
        f"it was {secret}.\nAuthorization: Bearer {CANARY}-b\nauthorization: basic {CANARY}\n"
        f"PGWARDEN_TOKEN={CANARY}-t pgwarden pki enrol\nexport PGWARDEN_ACCESS_TOKEN={CANARY}\n"
        f"PGPASSWORD={CANARY}\n"
        f'{{"headers":{{"Authorization":"Bearer {CANARY}-j"}}}}\n'
    )
    _, found = bundle_of(tmp_path, "--log", str(log), secrets={"agent": {}, "collector": {}})
    told = found["log-1-log"].decode()
    assert CANARY not in told
    assert secret not in told
    assert told.count("(hidden)") == 7


def test_half_a_secret_at_the_beginning_of_a_long_log_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr("cli.support.bundle.LOG_BYTES", 100)
    log = tmp_path / "log"
    log.write_text(f"x {CANARY}\n" + "y" * 93 + "\n")
    _, found = bundle_of(tmp_path, "--log", str(log))
    assert found["log-1-log"] == b"y" * 93 + b"\n"


def test_the_file_is_for_its_owner_whatever_was_there(tmp_path):
    target = tmp_path / "b.tar.gz"
    target.write_bytes(b"older")
    target.chmod(0o644)
    bundle_of(tmp_path)
    assert target.stat().st_mode & 0o777 == 0o600
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"of somebody")
    elsewhere.chmod(0o644)
    target.unlink()
    target.symlink_to(elsewhere)
    bundle_of(tmp_path)
    assert elsewhere.read_bytes() == b"of somebody"
    assert not target.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob(".*.part"))
