"""Logins that the server refused: from its log, in each of the three formats."""

import json

import pytest

from agent.pipeline import Pipeline
from agent.sessions import SessionTracker
from agent.sources.pgaudit.csvlog import CsvlogParser
from agent.sources.pgaudit.jsonlog import JsonlogParser
from agent.sources.pgaudit.logins import failed_login
from agent.sources.pgaudit.records import LogClock
from agent.sources.pgaudit.stderr import StderrParser
from agent.sql.client import ParserClient
from agent.sql.messages import redact_message
from model.event import LoginFailed, Protocol
from model.session import BackendKey
from model.statement import Source
from model.verdict import Mode
from rules import Judge, RuleSet

AT_NS = 1_795_439_658_702_000_000
STARTED_SECONDS = 0x6B043C2A
WORDINGS = {
    'password authentication failed for user "alice"': "28P01",
    'LDAP authentication failed for user "alice"': "28000",
    'certificate authentication failed for user "alice"': "28000",
    'role "alice" does not exist': "28000",
    'role "alice" is not permitted to log in': "28000",
    'no pg_hba.conf entry for host "203.0.113.9", user "alice", database "shop", no encryption':
        "28000",
    'pg_hba.conf rejects connection for host "203.0.113.9", user "alice", database "shop"': "28000",
}  # fmt: skip


def csvlog(message, severity="FATAL", user="alice"):
    fields = [
        "2026-11-23 13:14:18.702 UTC", f'"{user}"', '"shop"', "9309", '"203.0.113.9:34024"',
        "6b043c2a.245d", "1", '"authentication"', "2026-11-23 13:14:18 UTC", "3/2", "0", severity,
        "28P01", '"' + message.replace('"', '""') + '"', *[""] * 8, "", '"client backend"', "", "0",
    ]  # fmt: skip
    return ",".join(fields).encode() + b"\n"


def jsonlog(message, severity="FATAL", user="alice"):
    record = {
        "timestamp": "2026-11-23 13:14:18.702 UTC", "user": user, "dbname": "shop", "pid": 9309,
        "remote_host": "203.0.113.9", "session_id": "6b043c2a.245d", "error_severity": severity,
        "state_code": "28P01", "message": message,
    }  # fmt: skip
    return json.dumps(record).encode() + b"\n"


def stderr(message, severity="FATAL", user="alice"):
    head = f"2026-11-23 13:14:18.702 UTC [9309] 6b043c2a.245d {user}@shop 203.0.113.9 "
    return f"{head}{severity}:  {message}\n".encode()


PREFIX = "%m [%p] %c %q%u@%d %h "
FORMATS = {
    "csvlog": (csvlog, lambda: CsvlogParser(LogClock())),
    "jsonlog": (jsonlog, lambda: JsonlogParser(LogClock())),
    "stderr": (stderr, lambda: StderrParser(LogClock(), PREFIX)),
}
each_format = pytest.mark.parametrize(("write", "parser"), FORMATS.values(), ids=FORMATS)
REFUSED = LoginFailed(
    at_ns=AT_NS,
    backend=BackendKey(9309, STARTED_SECONDS * 1_000_000),
    cluster="main",
    user="alice",
    database="shop",
    client_address="203.0.113.9",
    sqlstate="28P01",
    message='password authentication failed for user "alice"',
)


def logins(log, data):
    return [failed_login(record, "main") for record in log.feed(data)]


@each_format
@pytest.mark.parametrize(("message", "sqlstate"), WORDINGS.items())
def test_each_way_to_be_refused_is_told_with_its_sqlstate(write, parser, message, sqlstate):
    (login,) = logins(parser(), write(message))
    assert (login.sqlstate, login.user, login.database) == (sqlstate, "alice", "shop")
    assert (login.client_address, login.message) == ("203.0.113.9", message)


@each_format
def test_every_split_gives_the_same_login(write, parser):
    data = write("something else") + write(REFUSED.message) + write("something else")
    for at in range(len(data)):
        log = parser()
        assert logins(log, data[:at]) + logins(log, data[at:]) == [REFUSED]
        assert not log.skipped


@each_format
def test_the_same_words_in_another_severity_are_no_login(write, parser):
    assert logins(parser(), write(REFUSED.message, severity="LOG")) == []


@each_format
def test_another_fatal_error_is_no_login(write, parser):
    data = write('database "shop" does not exist') + write("sorry, too many clients already")
    assert logins(parser(), data) == []


@each_format
def test_a_claimed_name_cannot_imitate_another_login(write, parser):
    name = 'x" does not exist, role "postgres'
    (login,) = logins(parser(), write(f'password authentication failed for user "{name}"'))
    assert (login.sqlstate, login.user) == ("28P01", "alice")


def test_without_names_in_the_prefix_the_message_tells_who_it_was():
    log = StderrParser(LogClock(), "%m [%p] ")
    lines = [
        'no pg_hba.conf entry for host "203.0.113.9", user "al ice", database "shop", SSL off',
        'password authentication failed for user "bob"',
    ]
    data = "".join(f"2026-11-23 13:14:18.702 UTC [9309] FATAL:  {line}\n" for line in lines)
    found = [(each.user, each.database, each.client_address) for each in logins(log, data.encode())]
    assert found == [("al ice", "shop", "203.0.113.9"), ("bob", "", "")]


def test_a_refused_login_is_a_row_without_a_session_or_a_verdict():
    told, sessions = [], []
    judge = Judge(RuleSet.load())
    with ParserClient() as parser:
        pipeline = Pipeline(
            tracker=SessionTracker(1),
            parser=parser,
            judges=lambda _: (judge,),
            mode=Mode.ENFORCE,
            redact_message=redact_message,
            on_change=lambda touched: None,
            on_verdict=lambda verdict: pytest.fail("nobody judges what never ran"),
            on_statement=lambda statement, shape: told.append((statement, shape)),
            on_run=lambda *_: None,
            on_lost=lambda _: None,
            on_held=lambda _: None,
            on_session=sessions.append,
        )
        pipeline.take([REFUSED], AT_NS // 1000)
    ((statement, shape),) = told
    assert (shape.operation, shape.redacted_text, statement.text) == ("login", "", b"")
    assert (statement.protocol, statement.source) == (Protocol.STARTUP, Source.PGAUDIT)
    assert (statement.sqlstate, statement.rows) == ("28P01", 0)
    assert (statement.session.user, statement.session.client_address) == ("alice", "203.0.113.9")
    assert sessions == []
    assert pipeline.rows == 1
