"""What a client sets with its start-up packet, before any statement: ``options``, and settings by
name. PostgreSQL keeps both in the session's ``Port`` for as long as that lives.

Nothing is held while a session starts. So what SET would be refused for is refused from the first
statement on: see ``agent.judge``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator

import structlog

from agent.guard.backend import Standing, examine
from agent.guard.memory import read_memory
from agent.guard.server import Server
from agent.probes.layouts import LAYOUTS, Layout
from model.session import BackendKey

LONGEST = 10_000
"""Bytes of a start-up packet, and so of one string in it: PostgreSQL takes no longer one."""
PIECE = 64
"""Read at once: a string may end right before memory that is not there."""
MOST = LONGEST // 3
"""Settings by name in such a packet: each has two zeros at least, and a letter."""
AT_ONCE = 20
SPACES = " \t\n\v\f\r"
"""What separates words in ``options``: no other space of Unicode does."""
OPTIONS_BEHIND_USER, NAMED_BEHIND_USER = 8, 16
"""``Port.cmdline_options`` and ``Port.guc_options`` follow ``user_name`` in every version."""
LINKED_CELLS = 8
"""``Layout.list_cells`` before PostgreSQL 13, when a cell led to the next one."""
FLAGS = {"O": ("allow_system_table_mods", "on"), "P": ("ignore_system_indexes", "on")}
WITH_VALUE = {"B": "shared_buffers", "N": "max_connections", "S": "work_mem"}
EVERYDAY = frozenset(
    {
        "application_name",
        "client_encoding",
        "datestyle",
        "extra_float_digits",
        "intervalstyle",
        "timezone",
    }
)
"""What drivers send with each connection: it says how values are written, and is left out."""

QUOTE = "'"
log = structlog.get_logger(__name__)

Settings = tuple[tuple[str, str], ...]


class StartupSettings:
    """Of a backend; empty for one that has ended, is no client's or cannot be read: the last is
    said in the log, once for each reason."""

    def __init__(self, servers: Callable[[], Iterable[Server]]) -> None:
        self._servers = servers
        self._said: set[str] = set()

    def __call__(self, key: BackendKey) -> Settings:
        backend = examine(key, self._servers, commands=True)
        if backend.standing in (Standing.GONE, Standing.NOT_CLIENT):
            return ()
        if backend.standing is not Standing.CLIENT or backend.server is None:
            return self._unread(key, backend.standing, backend.reason)
        try:
            return read_startup(key.pid, backend.server)
        except ProcessLookupError:
            return ()
        except (OSError, KeyError) as error:
            return self._unread(key, type(error).__name__, str(error))

    def _unread(self, key: BackendKey, kind: str, problem: str) -> Settings:
        if kind not in self._said:
            self._said.add(kind)
            log.warning("startup.unread", pid=key.pid, problem=problem)
        return ()


def read_startup(pid: int, server: Server) -> Settings:
    """Names in lower case, each with the value that PostgreSQL sets last.

    Raises OSError where its memory cannot be read, KeyError for an unknown version.
    """
    layout = LAYOUTS[server.version]
    port = _pointer(pid, server.address("MyProcPort"))
    if not port:
        return ()
    user = port + layout.port_user_name
    options = _pointer(pid, user + OPTIONS_BEHIND_USER)
    found = list(split_options(_string(pid, options))) if options else []
    listed = _pointer(pid, user + NAMED_BEHIND_USER)
    texts = [_string(pid, each) for each in _cells(pid, layout, listed)] if listed else []
    found += zip((name.lower() for name in texts[::2]), texts[1::2], strict=False)
    last = dict(setting for setting in found if _can_be_judged(setting[0]))
    # The server's own first: any number of invented ones may stand beside them.
    return tuple(sorted(last.items(), key=lambda setting: "." in setting[0]))


def split_options(options: str) -> Iterator[tuple[str, str]]:
    """Settings in the words of ``options``, as PostgreSQL reads them: ``-c name=value``,
    ``--name=value`` and the letters of its own command line; a backslash takes the next character
    as it is, and ``-`` in a name is ``_``."""
    words = iter(_words(options))
    for word in words:
        if word.startswith("--"):
            yield _named(word[2:])
            continue
        letters = word[1:] if word.startswith("-") else ""
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in FLAGS:
                yield FLAGS[letter]
            elif letter == "c":
                yield _named(letters or next(words, ""))
                break
            elif letter in WITH_VALUE:
                yield WITH_VALUE[letter], letters or next(words, "")
                break


def as_statements(settings: Settings) -> Iterator[bytes]:
    """SQL that would set the same, in texts so short that rules see all names in them."""
    texts = [f"SET {_name(name)} TO {_quoted(QUOTE, value)}" for name, value in settings]
    for first in range(0, len(texts), AT_ONCE):
        yield "; ".join(texts[first : first + AT_ONCE]).encode(errors="surrogateescape")


def _can_be_judged(name: str) -> bool:
    """Old servers take ``a.`` for a name, which SQL cannot say: one such must not hide the rest."""
    return name not in EVERYDAY and all(name.split("."))


def _name(name: str) -> str:
    return ".".join(_quoted('"', part) for part in name.split("."))


def _quoted(quote: str, text: str) -> str:
    return quote + text.replace(quote, quote * 2) + quote


def _named(setting: str) -> tuple[str, str]:
    name, _, value = setting.partition("=")
    return name.replace("-", "_").lower(), value


def _words(options: str) -> list[str]:
    words: list[str] = []
    word, escaped = "", False
    for character in options:
        if character in SPACES and not escaped:
            if word:
                words.append(word)
            word = ""
        elif character == "\\" and not escaped:
            escaped = True
            continue
        else:
            word += character
        escaped = False
    return [*words, word] if word else words


def _pointer(pid: int, address: int) -> int:
    return int(struct.unpack("<Q", read_memory(pid, address, 8))[0])


def _string(pid: int, address: int) -> str:
    found = b""
    while len(found) < LONGEST:
        # Up to the end of a piece, so that no read goes over the end of a page.
        piece = read_memory(pid, address, PIECE - address % PIECE)
        text, end, _ = piece.partition(b"\0")
        found += text
        if end:
            break
        address += len(piece)
    return found.decode(errors="surrogateescape")


def _cells(pid: int, layout: Layout, listed: int) -> list[int]:
    count = min(struct.unpack("<i", read_memory(pid, listed + 4, 4))[0], 2 * MOST)
    cell, found = _pointer(pid, listed + layout.list_cells), []
    for _ in range(count):
        found.append(_pointer(pid, cell))
        cell = _pointer(pid, cell + 8) if layout.list_cells == LINKED_CELLS else cell + 8
    return found
