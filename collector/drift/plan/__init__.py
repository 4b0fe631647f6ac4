"""The difference from the desired state as SQL that would bring a database back; never run."""

from collector.drift.plan.making import Plan, make
from collector.drift.plan.past import Past, read_past
from collector.drift.plan.script import script

__all__ = ["Past", "Plan", "make", "read_past", "script"]
