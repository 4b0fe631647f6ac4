"""From what was recorded to the alerts of each method, for a budget."""

from __future__ import annotations

from analytics.gate import Gate, GateSettings
from bench.detection.candidate import Alert
from bench.detection.ration import alerts_within
from bench.detection.recording import Recording, in_order
from bench.detection.scoring import HISTORY_DAYS, Outcome
from collector.alerts.grouping import Policy, at_least

OURS = "pgwarden"


def outcomes(
    hostile: Recording, clean: Recording | None, days: int, budget: float, clean_days: int
) -> dict[str, Outcome]:
    """By method; without a clean world nothing is known of alerts on clean days."""
    ours = {OURS: (gated(hostile, budget), gated(clean, budget) if clean else [])}
    others = {
        name: (
            alerts_within(budget, hostile.truth.steps, said.at),
            alerts_within(budget, clean.truth.steps, clean.baselines[name].at) if clean else [],
        )
        for name, said in hostile.baselines.items()
    }
    truth = hostile.truth
    clean_days = clean_days if clean else HISTORY_DAYS
    return {
        name: Outcome(
            truth.campaigns, alerts, quiet, truth.start_us, days, truth.identities, clean_days
        )
        for name, (alerts, quiet) in (ours | others).items()
    }


def gated(recording: Recording, budget: float) -> list[Alert]:
    """What the gate lets through and receivers of alerts are told of by default. A release of a
    program (``application_change``) is mostly of low severity: it is in the list of findings, and
    wakes nobody."""
    gate = Gate(GateSettings(alerts_per_day_per_100_identities=budget))
    steps = recording.truth.steps
    candidates = in_order(recording.detectors.values(), len(steps))
    alerts = []
    for step, found in zip(steps, candidates, strict=True):
        gate, raised = gate.step(found, step.identities, step.at_us)
        alerts += [
            Alert(each.finding.identity, each.finding.at_us, each.finding.detector)
            for each in raised
            if at_least(each.finding.severity, Policy().minimum_severity)
        ]
    return alerts
