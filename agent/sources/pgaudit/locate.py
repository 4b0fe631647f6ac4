"""Where a cluster's pgaudit records go, asked of the server; and why none will come."""

import os
import re
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import psycopg
import psycopg.rows

from agent.sources.pgaudit.stderr import PrefixError, compile_prefix

_SETTINGS_SQL = """
SELECT name, setting FROM pg_settings
WHERE name IN ('data_directory', 'logging_collector', 'log_destination', 'log_directory',
               'log_filename', 'log_line_prefix', 'log_timezone', 'log_min_messages',
               'shared_preload_libraries', 'pgaudit.log', 'pgaudit.role', 'pgaudit.log_level')
"""
_SCOPED_SQL = """
SELECT EXISTS (
    SELECT FROM pg_db_role_setting, unnest(setconfig) AS item
    WHERE item ~ '^pgaudit\\.(log|role)=' AND item NOT IN ('pgaudit.log=none', 'pgaudit.role='))
"""
_SUFFIXES = {"jsonlog": ".json", "csvlog": ".csv", "stderr": ".log"}
"""In order of preference: what a client writes cannot imitate a record in the first two."""


@dataclass(frozen=True, slots=True)
class Problem:
    what: str
    """One sentence in plain words."""
    remedy: str
    """SQL or a command, ready to paste."""
    fatal: bool = True
    """No record can come until it is solved."""


@dataclass(frozen=True, slots=True)
class Location:
    """What PgauditSource needs. ``format`` is empty when the log was not found."""

    format: str
    directory: Path
    pattern: str
    prefix: str
    zone: tzinfo
    problems: tuple[Problem, ...] = ()

    @property
    def usable(self) -> bool:
        return bool(self.format) and not any(problem.fatal for problem in self.problems)


def locate(
    connection: psycopg.Connection[object],
    root: Path = Path("/"),
    postmaster_pid: int = 0,
    proc: Path = Path("/proc"),
) -> Location:
    """``root`` is the server's file system as this process sees it (``/proc/PID/root``).

    ``postmaster_pid`` finds the log of a server without logging_collector by its standard error.
    Raises psycopg.Error when the server does not answer.
    """
    settings = _settings(connection)
    problems = _pgaudit_problems(connection, settings)
    format, directory, pattern = "", Path(), ""
    if "log_directory" not in settings or "data_directory" not in settings:
        problems.append(
            Problem(
                "The server does not tell this role where its log is.",
                "GRANT pg_read_all_settings TO CURRENT_USER;",
            )
        )
    elif settings.get("logging_collector") == "on":
        format, directory, pattern = _collected(settings, root)
    else:
        format, directory, pattern = _standard_error(postmaster_pid, proc, root)
        problems += _no_collector(format)
    prefix = settings.get("log_line_prefix", "")
    problems += _format_problems(format, prefix)
    if format:
        problems += _unreadable(directory)
    zone, zone_problems = _zone(settings.get("log_timezone", ""))
    return Location(format, directory, pattern, prefix, zone, (*problems, *zone_problems))


def _settings(connection: psycopg.Connection[object]) -> dict[str, str]:
    with connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        rows = cursor.execute(_SETTINGS_SQL).fetchall()
    return {_text(name): _text(setting) for name, setting in rows}


def _text(value: str | bytes) -> str:
    """psycopg gives bytes where the database's encoding is SQL_ASCII."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _pgaudit_problems(
    connection: psycopg.Connection[object], settings: dict[str, str]
) -> list[Problem]:
    libraries = re.split(r"[\s,\"']+", settings.get("shared_preload_libraries", ""))
    if "shared_preload_libraries" in settings and "pgaudit" not in libraries:
        value = ", ".join(f"'{name}'" for name in (*filter(None, libraries), "pgaudit"))
        return [
            Problem(
                "pgaudit is not loaded (shared_preload_libraries).",
                f"ALTER SYSTEM SET shared_preload_libraries = {value}; -- then restart the server",
            )
        ]
    if settings.get("log_min_messages") in ("fatal", "panic"):
        return [
            Problem(
                "log_min_messages keeps LOG messages, pgaudit's among them, out of the log.",
                "ALTER SYSTEM SET log_min_messages = 'warning'; SELECT pg_reload_conf();",
            )
        ]
    empty = settings.get("pgaudit.log", "none") in ("none", "") and not settings.get("pgaudit.role")
    if not empty:
        return []
    scoped = connection.execute(_SCOPED_SQL).fetchone() == (True,)
    if scoped:
        what = "pgaudit.log is set for some roles or databases only; others leave no records."
    else:
        what = "pgaudit is loaded, but pgaudit.log is empty: it records nothing."
    remedy = "ALTER SYSTEM SET pgaudit.log = 'ddl, role, write, read'; SELECT pg_reload_conf();"
    return [Problem(what, remedy, fatal=not scoped)]


def _collected(settings: dict[str, str], root: Path) -> tuple[str, Path, str]:
    destinations = {item.strip() for item in settings.get("log_destination", "").split(",")}
    format = next((name for name in _SUFFIXES if name in destinations), "")
    directory = Path(settings["data_directory"]) / settings["log_directory"]
    name = settings.get("log_filename", "")
    if format in ("csvlog", "jsonlog"):
        name = name.removesuffix(".log") + _SUFFIXES[format]
    return format, _inside(root, directory), _glob(name)


def _glob(name: str) -> str:
    """strftime escapes stand for anything; what logrotate appends too."""
    literal = re.sub(r"([*?\[])", r"[\1]", name)
    return re.sub(r"%[EO]?[A-Za-z]", "*", literal).replace("%%", "%") + "*"


def _standard_error(postmaster_pid: int, proc: Path, root: Path) -> tuple[str, Path, str]:
    try:
        target = os.readlink(proc / str(postmaster_pid) / "fd" / "2")
    except OSError:
        return "", Path(), ""
    path = Path(target.removesuffix(" (deleted)"))
    if not path.is_absolute() or path.is_relative_to("/dev"):
        return "", Path(), ""  # a pipe, a socket of the journal, or nowhere
    return "stderr", _inside(root, path.parent), _glob(path.name)


def _no_collector(format: str) -> list[Problem]:
    remedy = (
        "ALTER SYSTEM SET logging_collector = on; ALTER SYSTEM SET log_destination = 'csvlog'; "
        "-- then restart the server"
    )
    if format:
        what = "logging_collector is off: only the plain text log on standard error can be read."
        return [Problem(what, remedy, fatal=False)]
    return [Problem("logging_collector is off and the server's standard error is no file.", remedy)]


def _format_problems(format: str, prefix: str) -> list[Problem]:
    if format == "stderr":
        try:
            compile_prefix(prefix)
        except PrefixError as error:
            what, _, remedy = str(error).partition("; remedy: ")
            return [Problem(what + ".", remedy + " SELECT pg_reload_conf();")]
        if "%c" not in prefix:
            return [
                Problem(
                    "log_line_prefix has no %c: a reused pid cannot be told from the one before.",
                    "ALTER SYSTEM SET log_line_prefix = '%m [%p] %c %q%u@%d '; "
                    "SELECT pg_reload_conf();",
                    fatal=False,
                )
            ]
    return []


def _unreadable(directory: Path) -> list[Problem]:
    if os.access(directory, os.R_OK | os.X_OK, effective_ids=True):
        return []
    return [
        Problem(
            f"The log folder {directory} cannot be read by this user.",
            "usermod --append --groups postgres pgwarden  # and log_file_mode = 0640, or run the "
            "agent with CAP_DAC_READ_SEARCH",
        )
    ]


def _zone(name: str) -> tuple[tzinfo, list[Problem]]:
    if name in ("", "UTC", "GMT", "Etc/UTC"):
        return UTC, []
    try:
        return ZoneInfo(name), []
    except (ZoneInfoNotFoundError, ValueError):
        problem = Problem(
            f"log_timezone {name!r} is not known on this host: log times are read as UTC.",
            "ALTER SYSTEM SET log_timezone = 'UTC'; SELECT pg_reload_conf();",
            fatal=False,
        )
        return UTC, [problem]


def _inside(root: Path, path: Path) -> Path:
    return root / path.relative_to("/") if path.is_absolute() else path
