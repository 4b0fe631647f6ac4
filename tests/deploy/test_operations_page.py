"""docs/operations.md names every metric, label, rule and setting, and none that does not exist."""

import re
from pathlib import Path

import yaml

from collector.alerts.configured import route_from
from collector.alerts.grouping import Grouper, Policy, at_least
from collector.alerts.routes import receivers_for
from config import schema
from model.finding import Finding, FindingKind
from model.verdict import Severity
from tests.deploy.programs import agent_metrics, collector_metrics, feed
from tests.deploy.test_rules import rules

PAGE = Path("docs/operations.md").read_text()


def documented() -> dict[str, set[str]]:
    """Labels by metric name."""
    rows = re.findall(r"^\| `(pgwarden_\w+)` \| ([\w, ]*?) ?\|", PAGE, re.MULTILINE)
    return {name: set(re.findall(r"\w+", labels)) for name, labels in rows}


def served() -> dict[str, set[str]]:
    agent, collector = agent_metrics(), collector_metrics()
    feed(agent, collector)
    metrics: dict[str, set[str]] = {}
    for family in (f for m in (agent, collector) for f in m.registry.collect()):
        assert family.samples, f"{family.name} is not fed"
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        if family.name.startswith("pgwarden_"):
            metrics[family.name + suffix] = labels
    return metrics


def test_the_metrics_of_the_page_are_those_that_are_served():
    assert documented() == served()


def test_every_rule_of_prometheus_has_a_line_with_its_severity():
    lines = dict(re.findall(r"^\| (Pgwarden\w+) \| (\w+) \|", PAGE, re.MULTILINE))
    assert lines == {rule["alert"]: rule["labels"]["severity"] for rule in rules()}


def test_the_example_of_alerts_is_a_valid_configuration():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    tree = yaml.safe_load(text)["collector"]["alerts"]
    for receiver in tree["receivers"]:
        for name in [name for name in receiver if name.endswith("_file")]:
            receiver[name.removesuffix("_file")] = receiver.pop(name) and "secret"
    assert len(schema.Alerts.model_validate(tree).receivers) == 3


def test_names_follow_prometheus_conventions():
    for name in served():
        parts = ("agent", "collector", "audit", "guard", "rules", "approvals")
        assert name.startswith(tuple(f"pgwarden_{part}_" for part in parts)), name
        assert not re.search(r"_(ms|us|ns|kb|mb|percent)(_|$)", name), name


def test_no_route_of_the_example_waits_for_what_never_becomes_an_alert():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    alerts = yaml.safe_load(text)["collector"]["alerts"]
    floor = Severity(alerts["min_severity"])
    for route in alerts["routes"]:
        assert at_least(Severity(route.get("min_severity", floor)), floor), route


def test_the_example_brings_a_low_anomaly_to_chat_and_the_default_severity_to_nobody():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    alerts = yaml.safe_load(text)["collector"]["alerts"]
    routes = [route_from(schema.RouteEntry.model_validate(route)) for route in alerts["routes"]]
    finding = Finding("1", FindingKind.ANOMALY, "volume", Severity.LOW, "title", "sentence", 1)
    alert = Grouper(Policy(Severity(alerts["min_severity"]))).observe(finding, 1)
    assert alert is not None
    assert receivers_for(alert, routes, ["am", "pager", "chat"]) == ("chat",)
    assert Grouper(Policy(schema.Alerts().min_severity)).observe(finding, 1) is None
