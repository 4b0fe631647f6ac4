"""What differs from what was accepted, who made it so, and how bad it is."""

from collector.drift.engine import Drift
from collector.drift.news import DriftNews, DriftStatus, drift_frame

__all__ = ["Drift", "DriftNews", "DriftStatus", "drift_frame"]
