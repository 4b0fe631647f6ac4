"""Events of all sources to Sessions and Statements. Pure: no clock, no input or output."""

from agent.sessions.limits import Limits
from agent.sessions.tracker import SessionTracker

__all__ = ["Limits", "SessionTracker"]
