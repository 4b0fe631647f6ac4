"""The server's value of a setting that sessions like ours have changed for them.

``ALTER ROLE ... SET`` and ``ALTER DATABASE ... SET`` reach our own session too, and pg_settings
shows what a session has. What the server has then stands in its files, or is built in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]

OWN_FILE = "postgresql.auto.conf"
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([A-Za-z]*)\s*\Z")
_SIZES = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_TIMES = {"us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_YES = ("on", "true", "yes", "1")
_NO = ("off", "false", "no", "0")


def of_server(row: Row, in_files: Mapping[str, Row]) -> Row:
    """``row`` of pg_settings as a session without settings of its own would see it."""
    line = in_files.get(row["name"].lower())
    if line is None:
        found = {"setting": row["built_in"], "source": "default", "sourcefile": "", "sourceline": 0}
    else:
        found = {
            "setting": plain(line["setting"] or "", row["type"], row["unit"]),
            "source": "configuration file",
            "sourcefile": line["sourcefile"],
            "sourceline": line["sourceline"],
        }
    if row["source"] == "session":  # it would have no place to speak of either
        return {**row, "setting": found["setting"]}
    return {**row, **found}


def in_own_file(row: Row, in_files: Mapping[str, Row]) -> str:
    """The text of the line of postgresql.auto.conf that ``row`` has its value from, as it is
    written there; empty where that is not clear: somebody may have edited it since it was read."""
    line = in_files.get(row["name"].lower())
    if line is None or not row["sourcefile"].endswith(OWN_FILE):
        return ""
    if (line["sourcefile"], line["sourceline"]) != (row["sourcefile"], row["sourceline"]):
        return ""
    text = line["setting"] or ""
    same = plain(text, row["type"], row["unit"]) == plain(row["setting"] or "", row["type"], "")
    return text if same and not row["pending_restart"] else ""


def plain(text: str, kind: str, unit: str) -> str:
    """A value as a file has it, in the form and unit of pg_settings; ``kind`` is its ``vartype``.

    >>> plain("22s", "integer", "ms"), plain("1GB", "integer", "8kB"), plain("YES", "bool", "")
    ('22000', '131072', 'on')
    """
    if kind == "bool":
        word = text.strip().lower()
        yes = any(each.startswith(word) for each in _YES) and word != "o"
        no = any(each.startswith(word) for each in _NO) and word != "o"
        return "on" if yes and word else "off" if no and word else text
    if kind == "enum":
        return text.lower()
    number = _NUMBER.match(text)
    if kind not in ("integer", "real") or number is None:
        return text
    value = float(number[1]) * _scale(number[2], unit)
    return f"{round(value)}" if kind == "integer" else f"{value:g}"


def _scale(given: str, unit: str) -> float:
    """From the unit that a file gives to that of the setting, which may be a number of blocks."""
    if not given or not unit:
        return 1.0
    blocks = re.match(r"(\d*)(.*)", unit)
    count, base = (int(blocks[1] or 1), blocks[2]) if blocks else (1, unit)
    for units in (_SIZES, _TIMES):
        if given in units and base in units:
            return units[given] / (units[base] * count)
    return 1.0
