"""Prometheus accepts the rules, each rule fires when it should and stays silent when it should."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.peers import need
from tests.deploy.programs import agent_metrics, collector_metrics, feed

FOLDER = Path("deploy/prometheus")
RULES = FOLDER / "pgwarden.rules.yml"
CASES = FOLDER / "pgwarden.rules.test.yml"


def rules():
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


@pytest.mark.peers
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", RULES.name),
        ("test", "rules", CASES.name),
    ],
    ids=" ".join,
)
def test_promtool_accepts(arguments):
    need("promtool")
    done = subprocess.run(["promtool", *arguments], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_case_that_fires():
    tested = set(re.findall(r"ALERTS\{alertname=\"(\w+)\"\}", CASES.read_text()))
    assert {rule["alert"] for rule in rules()} == tested


def test_every_rule_asks_only_for_metrics_that_the_programs_have():
    agent, collector = agent_metrics(), collector_metrics()
    feed(agent, collector)
    have = {
        sample.name
        for program in (agent, collector)
        for family in program.registry.collect()
        for sample in family.samples
    }
    for rule in rules():
        asked = set(re.findall(r"pgwarden_\w+", rule["expr"]))
        assert asked <= have, rule["alert"]


def test_every_rule_says_how_bad_it_is_and_what_to_do():
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
