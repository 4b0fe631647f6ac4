"""Events of all sources to Sessions and Statements. Pure: no clock, no input or output."""

from agent.sessions.tracker import Limits, SessionTracker

__all__ = ["Limits", "SessionTracker"]
