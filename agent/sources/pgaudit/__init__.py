"""pgaudit's records, read from the server's own log files."""

from agent.sources.pgaudit.locate import Location, Problem, locate
from agent.sources.pgaudit.source import LogFormat, PgauditSource
from agent.sources.pgaudit.tail import LogPosition

__all__ = ["Location", "LogFormat", "LogPosition", "PgauditSource", "Problem", "locate"]
