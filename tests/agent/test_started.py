"""Rules hear of what a start-up packet sets, also those that stop nothing."""

from dataclasses import replace

import pytest

from agent.directory import Directory
from agent.sql.client import ParserClient
from agent.started import judge_startup
from model.event import ApplicationNamed, SessionEnded, SessionSeen
from model.session import BackendKey, Session
from model.verdict import Mode, Outcome, RuleAction
from rules import Judge, RuleSet
from tests.rules.rule_files import rule

BACKEND = BackendKey(4711, 1_700_000_000_000_000)
AT_US = 1_700_000_001_000_000
SEEN = SessionSeen(AT_US * 1000, BACKEND, "main", "app", "shop", None, "10.0.0.7", 4001)
SETTINGS = (("role", "other"), ("work_mem", "64MB"))
STARTED = Session(BACKEND, startup=SETTINGS)


def told(tmp_path, action, mode, session=STARTED):
    text = rule(id="roles", action=action, when="'other' in statement.roles")
    (tmp_path / "rules.yaml").write_text(text)
    with ParserClient() as parser:
        judge = Judge(RuleSet.load([tmp_path]))
        return list(judge_startup(session, parser, judge, mode, AT_US))


@pytest.mark.parametrize(
    ("action", "mode"),
    [("alert", Mode.OBSERVE), ("observe", Mode.OBSERVE), ("deny", Mode.OBSERVE),
     ("alert", Mode.ENFORCE), ("observe", Mode.ENFORCE)],
)  # fmt: skip
def test_what_a_rule_says_of_such_a_setting_is_on_record_without_its_value(tmp_path, action, mode):
    ((verdict, text),) = told(tmp_path, action, mode)
    assert (verdict.rule_id, verdict.action) == ("roles", RuleAction(action))
    assert (verdict.outcome, verdict.backend) == (Outcome.OBSERVED, BACKEND)
    assert verdict.reason.startswith("set when the session started: ")
    assert "other" not in text


def test_where_each_statement_is_refused_for_it_those_tell(tmp_path):
    assert told(tmp_path, "deny", Mode.ENFORCE) == []


def test_settings_that_no_rule_is_about_are_no_event(tmp_path):
    harmless = replace(STARTED, startup=SETTINGS[1:])
    assert told(tmp_path, "alert", Mode.OBSERVE, harmless) == []


def test_a_session_tells_its_settings_once_whatever_was_known_of_it_before():
    asked, heard = [], []

    def startup(backend):
        asked.append(backend)
        return SETTINGS

    directory = Directory(lambda session: session, startup=startup, on_started=heard.append)
    directory.observe(ApplicationNamed(AT_US * 1000, BACKEND, "psql"))
    directory.observe(SEEN)
    directory.observe(SEEN)
    assert asked == [BACKEND]
    assert [(session.startup, session.application_name) for session in heard] == [
        (SETTINGS, "psql")
    ]
    assert directory.session(BACKEND).startup == SETTINGS
    directory.observe(SessionEnded(AT_US * 1000, BACKEND))
    directory.observe(SEEN)
    assert len(heard) == 2
