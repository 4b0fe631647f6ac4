"""``agent.rules`` as people write it, from the file to the rules."""

import pytest

from agent.configured_rules import load_rules
from config import ConfigError, load
from rules import RuleError

GOOD = """\
agent:
  rules:
    packs: [{pack}]
    timezone: Europe/Berlin
    windows:
      night:
        - {days: [fri], from: 22:00, to: 04:00}
    data_classes: {personal: [hr.people]}
    exceptions:
      - {rule: r, when: session.user == 'etl', because: it may, until: 2026-12-31}
    actions: {r: alert}
"""
RULES = """\
rules:
  - id: r
    title: T
    severity: low
    action: deny
    when: "'night' in time.windows && 'personal' in statement.data_classes"
"""


@pytest.fixture
def configured(tmp_path):
    (tmp_path / "rules.yaml").write_text(RULES)

    def read(text=GOOD):
        file = tmp_path / "pgwarden.yaml"
        file.write_text(text.replace("{pack}", str(tmp_path / "rules.yaml")))
        return load(file).agent.rules

    return read


def test_hours_need_no_quotes_and_days_are_days(configured):
    rules = load_rules(configured())
    (opening,) = rules.calendar.windows["night"]
    assert (opening.opens, opening.closes) == (22 * 60, 4 * 60)
    (rule,) = rules.rules
    assert rule.action.value == "alert"
    assert (rule.unless[0].because, str(rule.unless[0].until)) == ("it may", "2026-12-31")


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("because: it may", "because: ''", ConfigError),
        ("until: 2026-12-31", "until: someday", ConfigError),
        ("r: alert", "r: block", ConfigError),
        ("from: 22:00, ", "", ConfigError),
        ("days: [fri]", "dais: [fri]", ConfigError),
        ("days: [fri]", "days: [firday]", RuleError),
        ("from: 22:00", "from: 25:00", RuleError),
        ("Europe/Berlin", "Europe/Bonn", RuleError),
        ("rule: r", "rule: s", RuleError),
        ("session.user ==", "session.usr ==", RuleError),
        ("hr.people", "hr people", RuleError),
    ],
)
def test_a_mistake_is_refused(configured, old, new, error):
    assert old in GOOD
    with pytest.raises(error):
        load_rules(configured(GOOD.replace(old, new)))
