"""From candidates to alerts, as a person would hear of them."""

from bench.detection.candidate import Step
from bench.detection.methods import gated
from bench.detection.recording import Recording, Said, Truth
from model.finding import FindingKind
from model.verdict import Severity
from tests.analytics.gate.candidates import START_US, candidate


def recorded(*candidates):
    truth = Truth((Step(START_US, 40, 1),), (), START_US, 40)
    return Recording(truth, {"some": Said([(0, list(candidates))])}, {})


def test_what_receivers_are_not_told_of_is_no_alert():
    release = candidate(
        5, detector="application_change", kind=FindingKind.DRIFT, severity=Severity.LOW
    )
    slow = candidate(30, detector="latency", severity=Severity.LOW, identity="bob")
    theft = candidate(30, severity=Severity.LOW, identity="carol")
    alerts = gated(recorded(release, slow, theft), 5)
    assert [alert.identity for alert in alerts] == ["carol"]
