"""A command line without what may be secret: the program and, of an interpreter, its script. Pure.

Arguments hold passwords and connection strings, and no pattern finds them all: so nothing is kept
but the program's name and the one word that says what an interpreter runs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_WORD = 100
MORE = "…"
_INTERPRETER = re.compile(
    r"(?:python|pypy|node|nodejs|deno|bun|ruby|perl|php|java|bash|dash|sh|zsh|npx|bunx|uvx|uv|pipx"
    r"|npm|pnpm|yarn|electron)[\d.]*"
)
_SAFE = re.compile(
    r"(?:@[\w.-]+/|/)?[A-Za-z0-9_][\w./+-]*(?:@(?:latest|[\d^~][\w.]{0,20}))?", re.ASCII
)
"""A path, module or package. Not ``name=value``, ``user@host``, a URL or anything quoted."""
_NAMES_PROGRAM = ("-m", "-jar")
_RUNNERS = frozenset(("run", "exec", "tool", "x", "dlx"))
_ALONE = re.compile(r"-[uBIsSOqvy]+|--yes|--quiet|-X\S+|-D\S+|--?[\w-]+=.*", re.DOTALL)
"""Options that take no further word. After any other one the next word may be its secret."""
_WITH_PATH = frozenset(("-cp", "-classpath", "--class-path"))


def safe_command(words: Sequence[str], executable: str = "") -> str:
    """``node server.js …`` for ``node server.js --password x``. ``words`` as in ``cmdline``."""
    program = _program(words[0] if words else "") or _program(executable)
    if not program:
        return ""
    script = ""
    if _INTERPRETER.fullmatch(program):
        script = _script(words[1:])
    kept = f"{program} {script}" if script else program
    arguments = len(words) - 1 - len(script.split())
    return f"{kept} {MORE}" if arguments > 0 else kept


def _program(word: str) -> str:
    """File name; a process may have written its whole title, or more, into the first word."""
    name = word.split(maxsplit=1)[0].rpartition("/")[2] if word.strip() else ""
    name = name.lstrip("-").rstrip(":")
    return name[:MAX_WORD] if _SAFE.fullmatch(name) else ""


def _script(words: Sequence[str]) -> str:
    prefix, skip = "", False
    for word in words[:12]:
        if skip:
            skip = False
        elif word in _NAMES_PROGRAM:
            prefix = word
        elif word in _WITH_PATH:
            skip = True
        elif _ALONE.fullmatch(word) or (word in _RUNNERS and not prefix):
            continue
        elif len(word) <= MAX_WORD and _SAFE.fullmatch(word):
            return f"{prefix} {word}".strip()
        else:
            return ""
    return ""
