"""The gate between what detectors suspect and what a person is told (docs/anomalies.md)."""

from analytics.gate.feedback import Feedback, Opinion
from analytics.gate.gate import Agreement, Gate, Raised, Reason
from analytics.gate.history import Who, who_of
from analytics.gate.mutes import Mute
from analytics.gate.settings import GateSettings

__all__ = [
    "Agreement",
    "Feedback",
    "Gate",
    "GateSettings",
    "Mute",
    "Opinion",
    "Raised",
    "Reason",
    "Who",
    "who_of",
]
