"""A gate as JSON values and back: all that it knows, so that a restart changes nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from analytics.gate.calibration import Calibration
from analytics.gate.cases import Case, Part, Said
from analytics.gate.feedback import Feedback, Opinion, Opinions
from analytics.gate.gate import Gate
from analytics.gate.history import History, Seen, Who
from analytics.gate.tail import Tail

FORMAT = 2
Tree = dict[str, Any]


class StoredGateError(ValueError):
    """It was written by another release, or is damaged."""


def to_tree(gate: Gate) -> Tree:
    """Without settings and mutes, which are configuration."""
    history, calibration = gate.history, gate.calibration
    return {
        "format": FORMAT,
        "since_us": history.since_us,
        "identities": list(history.identities.items()),
        "from_day": dict(history.from_day),
        "peaks": {
            detector: [
                [day, *who, seen.score, _finite(seen.cap), seen.finding_id]
                for (day, who), seen in days.items()
            ]
            for detector, days in history.peaks.items()
        },
        "calibrated_us": calibration.at_us,
        "threshold": calibration.threshold,
        "tails": {name: asdict(tail) for name, tail in calibration.tails.items()},
        "quiet": asdict(calibration.quiet),
        "case_tail": asdict(calibration.cases),
        "cases": [[*who, _case_tree(case)] for who, case in gate.cases.items()],
        "opinions": [
            asdict(each) | {"who": list(each.who)} for each in gate.opinions.records.values()
        ],
        "releases": [[*who, at_us] for who, at_us in gate.releases.items()],
        "told": {detector: sorted(ids) for detector, ids in gate.told.items()},
        "day": gate.day,
        "raised_today": gate.raised_today,
        "now_us": gate.now_us,
        "suppressed": [[*key, number] for key, number in gate.suppressed.items()],
    }


def from_tree(tree: Tree, gate: Gate) -> Gate:
    """What ``tree`` knows, with settings and mutes of ``gate``. Raises StoredGateError."""
    if not isinstance(tree, Mapping) or tree.get("format") != FORMAT:
        raise StoredGateError("it was written by another release")
    try:
        return _restored(tree, gate)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoredGateError(f"it is damaged ({type(error).__name__})") from error


def _restored(tree: Tree, gate: Gate) -> Gate:
    history = History(
        tree["since_us"],
        {int(day): int(number) for day, number in tree["identities"]},
        {
            detector: {
                (day, Who(*who)): Seen(score, _infinite(cap), finding_id)
                for day, *who, score, cap, finding_id in rows
            }
            for detector, rows in tree["peaks"].items()
        },
        tree["from_day"],
    )
    calibration = Calibration(
        tree["calibrated_us"],
        {name: _tail(each) for name, each in tree["tails"].items()},
        _tail(tree["quiet"]),
        _tail(tree["case_tail"]),
        tree["threshold"],
    )
    opinions = {
        each["finding_id"]: Feedback(
            **each | {"opinion": Opinion(each["opinion"]), "who": Who(*each["who"])}
        )
        for each in tree["opinions"]
    }
    return replace(
        gate,
        history=history,
        calibration=calibration,
        cases={Who(*who): _case(each) for *who, each in tree["cases"]},
        opinions=Opinions(opinions),
        releases={Who(*who): at_us for *who, at_us in tree["releases"]},
        told={detector: frozenset(ids) for detector, ids in tree["told"].items()},
        day=tree["day"],
        raised_today=tree["raised_today"],
        now_us=tree["now_us"],
        suppressed={(detector, reason): n for detector, reason, n in tree["suppressed"]},
    )


def _case_tree(case: Case) -> Tree:
    return {
        "id": case.id,
        "opened_us": case.opened_us,
        "last_us": case.last_us,
        "parts": {name: list(part) for name, part in case.parts.items()},
        "said": [[*cause, *said] for cause, said in case.said.items()],
        "causes": [[*cause, bits] for cause, bits in case.causes.items()],
        "raised_us": case.raised_us,
        "raised_bits": case.raised_bits,
        "finding_id": case.finding_id,
    }


def _case(tree: Tree) -> Case:
    return Case(
        **tree
        | {
            "parts": {name: Part(*part) for name, part in tree["parts"].items()},
            "said": {(d, o): Said(bits, at_us) for d, o, bits, at_us in tree["said"]},
            "causes": {(d, o): bits for d, o, bits in tree["causes"]},
        }
    )


def _tail(tree: Tree) -> Tail:
    return Tail(**tree | {"knots": tuple((value, rate) for value, rate in tree["knots"])})


def _finite(cap: float) -> float | None:
    """JSON knows no infinity."""
    return None if math.isinf(cap) else cap


def _infinite(cap: float | None) -> float:
    return math.inf if cap is None else cap
