"""A support bundle says much and gives nothing away."""

import json
import tarfile
from base64 import b64encode
from urllib.parse import quote, quote_plus

import pytest
import yaml
from typer.testing import CliRunner

from agent.spool.spool import Spool
from agent.wire.batch import BatchBuilder
from cli.main import app
from cli.support.scrub import text
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


USER, QUERY, CHAT, HEADS = (f"{name}7x9q3Zk2" for name in ("user", "query", "chat", "heads"))
IN_URLS = {
    "agent": {"clusters": [{"port": 1, "dsn": f"host=h user=u password={CANARY}"}]},
    "collector": {
        "alerts": {
            "receivers": [
                {"type": "alertmanager", "name": "a",
                 "url": f"http://u:{USER}@am.example:9093/x?tok={QUERY}"},
                {"type": "webhook", "name": "w", "url": f"https://chat.example/services/{CHAT}"},
                {"type": "pagerduty", "name": "p", "routing_key": CANARY},
            ]
        },
        "ledger": {"tell": [{"type": "http", "url": f"https://w.example/heads?key={HEADS}"}]},
    },
}  # fmt: skip


def test_what_stands_in_urls_is_found_without_them_and_words_stay(tmp_path):
    secrets = (USER, QUERY, CHAT, HEADS)
    basic = b64encode(f"u:{USER}".encode()).decode()
    lines = [json.dumps({"error": f"<<{secret}>>"}) for secret in secrets]
    lines += [f"<<{quote('/' + secret, safe='')}>>" for secret in secrets]
    log = tmp_path / "log"
    log.write_text("\n".join([*lines, f"<<{basic}>>", "<<services heads alertmanager>>"]) + "\n")
    _, found = bundle_of(tmp_path, "--log", str(log), secrets=IN_URLS)
    told = found["log-1-log"].decode()
    assert [each for each in (*secrets, basic) if each in told] == []
    assert told.count("(hidden)") == len(lines) + 1
    assert "<<services heads alertmanager>>" in told


@pytest.mark.parametrize("before", ["", "u", "us", "usr", "a longer user "])
def test_a_secret_inside_of_base64_is_found_wherever_it_begins(tmp_path, before):
    log = tmp_path / "log"
    for after in ("", "x", "xy"):
        whole = b64encode(f"{before}:{CANARY}{after}".encode()).decode()
        log.write_text(f"{whole}\n")
        _, found = bundle_of(tmp_path, "--log", str(log), secrets=IN_URLS)
        told = found["log-1-log"].decode().strip()
        kept = told.partition("(hidden)")
        assert kept[1]
        # What is left are the neighbours and a character that holds bits of both.
        assert len(kept[0]) <= 4 * (len(before) + 3) // 3
        assert len(kept[2]) <= 6


def test_a_line_of_a_password_file_keeps_all_but_the_password(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        f"pgpass db.example:5432:*:u:{CANARY[:-1]}\n*:*:*:u:b\\:{CANARY[:-1]}\n"
        "aa:11:22:33:44:55 at 2026-11-28T02:16:24 in a.py:12:30: error\n"
    )
    _, found = bundle_of(tmp_path, "--log", str(log), secrets={"agent": {}, "collector": {}})
    assert found["log-1-log"].decode() == (
        "pgpass db.example:5432:*:u:(hidden)\n*:*:*:u:(hidden)\n"
        "aa:11:22:33:44:55 at 2026-11-28T02:16:24 in a.py:12:30: error\n"
    )


def test_config_show_hides_what_is_secret_in_urls_and_keeps_the_hosts(tmp_path):
    file = tmp_path / "pgwarden.yaml"
    file.write_text(yaml.safe_dump(IN_URLS))
    for options in ([], ["--json"]):
        done = CliRunner().invoke(app, ["config", "show", "-c", str(file), *options])
        assert done.exit_code == 0
        assert [each for each in (USER, QUERY, CHAT, HEADS, CANARY) if each in done.output] == []
        receivers = json.loads(done.output)["collector"]["alerts"]["receivers"]
        assert [each["url"] for each in receivers] == [
            "http://am.example:9093/(hidden)",
            "https://chat.example/(hidden)",
            "https://events.pagerduty.com/(hidden)",
        ]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://h.example", "https://h.example"),
        ("https://h.example:1/", "https://h.example:1/"),
        ("https://u:p@h.example", "https://h.example/(hidden)"),
        ("https://u:p@q@h.example/", "https://h.example/(hidden)"),
        ("https://u:p/q@h.example/", "https://(hidden)"),
        ("https://h.example?k=a@b", "https://(hidden)"),
        ("https://h.example#k", "https://h.example/(hidden)"),
    ],
)
def test_of_a_url_the_host_is_told(url, told):
    assert text(f"to {url} now") == f"to {told} now"


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
