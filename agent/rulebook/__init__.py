"""The rules in force: loaded from files, exchanged while statements are judged, on the record."""

from agent.rulebook.editions import Edition, Rulebook
from agent.rulebook.files import Contents, load, look
from agent.rulebook.service import RuleService

__all__ = ["Contents", "Edition", "RuleService", "Rulebook", "load", "look"]
