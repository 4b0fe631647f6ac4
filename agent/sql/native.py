"""Code that runs in the server past every rule: libraries, C, languages without limits."""

from __future__ import annotations

from agent.sql.facts import Facts

_INSTALLED = "$libdir/"
"""What extensions name; who may write there is root on the host."""
_UNLIMITED = frozenset(
    {"internal", "plpythonu", "plpython2u", "plpython3u", "plperlu", "pltclu", "pljavau", "plsh"}
)


def note_library(facts: Facts, path: str) -> None:
    """``library``: one that may lie anywhere. A bare name is one of the server's own."""
    if ".." in path.split("/") if path.startswith(_INSTALLED) else "/" in path:
        facts.flag("library")


def note_language(facts: Facts, language: str, texts: list[str]) -> None:
    """Of a function, procedure or DO. ``texts``: of one in C its file, and the name within it."""
    if language in _UNLIMITED:
        facts.flag("native_code")
    elif language == "c" and texts:
        note_library(facts, texts[0])
