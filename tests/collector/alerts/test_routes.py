"""Which receivers hear of which alert."""

from dataclasses import replace

import pytest

from collector.alerts.grouping import Grouper, Policy
from collector.alerts.routes import Match, Route, receivers_for
from model.finding import FindingKind
from model.verdict import Severity
from tests.collector.alerts.samples import DRIFT, GUARD, START_US

KNOWN = ("pager", "chat", "log")
GUARD_ALERT = Grouper(Policy()).observe(GUARD, START_US)
DRIFT_ALERT = Grouper(Policy()).observe(DRIFT, START_US)


def test_without_routes_everybody_hears():
    assert receivers_for(GUARD_ALERT, (), KNOWN) == KNOWN


def test_the_first_matching_route_decides():
    routes = [
        Route(("pager",), Match(kinds=(FindingKind.GUARD,))),
        Route(("chat",), Match()),
    ]
    assert receivers_for(GUARD_ALERT, routes, KNOWN) == ("pager",)
    assert receivers_for(DRIFT_ALERT, routes, KNOWN) == ("chat",)


def test_what_no_route_matches_reaches_everybody():
    routes = [Route(("chat",), Match(kinds=(FindingKind.ANOMALY,)))]
    assert receivers_for(GUARD_ALERT, routes, KNOWN) == KNOWN


def test_a_route_without_receivers_silences():
    assert receivers_for(GUARD_ALERT, [Route(())], KNOWN) == ()


@pytest.mark.parametrize(
    ("match", "holds"),
    [
        (Match(severity_at_least=Severity.HIGH), True),
        (Match(severity_at_least=Severity.CRITICAL), False),
        (Match(detectors=("guard.*",)), True),
        (Match(detectors=("drift.*", "guard.no-*")), True),
        (Match(detectors=("volume",)), False),
        (Match(clusters=("54*",)), True),
        (Match(clusters=("prod*",)), False),
        (Match(kinds=(FindingKind.DRIFT,), detectors=("*",)), False),
    ],
)
def test_all_conditions_of_a_route_must_hold(match, holds):
    assert match(GUARD_ALERT) is holds


def test_a_route_follows_a_severity_that_rose():
    raised = replace(GUARD_ALERT, severity=Severity.CRITICAL)
    assert Match(severity_at_least=Severity.CRITICAL)(raised)
