"""What a corpus file says: one forbidden or harmless thing that a client does, and its way there.

A file holds ``entries`` written by hand, or ``payloads`` and ``templates``: each payload goes
through each template of its kind.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).with_name("corpus")
PATHS = (
    "simple", "extended", "prepared_named", "pipeline", "portal", "multi", "comment", "whitespace",
    "unicode", "strings", "encoding", "long", "deep", "cte", "explain_analyze", "ctas", "copy",
    "sql_prepare", "cursor", "do", "dynamic", "sql_function", "plpgsql_function", "procedure_sql",
    "procedure_plpgsql", "security_definer", "call_site", "spi_builtin", "trigger",
    "deferred_trigger", "rule", "view", "search_path", "set_role", "event_trigger", "replication",
    "fastpath", "transaction", "savepoint", "exception_handler", "indirect",
)  # fmt: skip
"""The ways that a statement can take; docs/guard.md tells the coverage by them."""
SENDS = ("simple", "extended", "prepared", "pipeline", "portal", "call", "replication", "wire")
FIELDS = frozenset(
    ("id", "path", "sql", "setup", "rule", "login", "send", "effect", "versions", "gap", "alone",
     "encoding", "options", "outside")
)  # fmt: skip
EFFECTS = ("state", "leak", "session")
_REPEAT = re.compile(r"<<(.+?)\*(\d+)>>", re.S)
_PIECE = re.compile(r"\{loot\}|(?:(?!\{loot\}).){1,3}", re.S)
"""A place that a run fills in stays whole."""
_SEND_OF_PATH = {
    "extended": "extended",
    "prepared_named": "prepared",
    "pipeline": "pipeline",
    "portal": "portal",
    "replication": "replication",
}


class CorpusError(Exception):
    """A corpus file that cannot be used, and why."""


@dataclass(frozen=True)
class Step:
    """One text that the client sends. ``send`` is ``call``: the name of a function of no arguments,
    called by fastpath."""

    text: bytes
    send: str


@dataclass(frozen=True)
class Entry:
    id: str
    family: str
    path: str
    steps: tuple[Step, ...]
    harmless: bool = False
    setup: str = ""
    """Run before, by a login that rules exempt."""
    rule: str = ""
    """The rule that must refuse it, where it is one certain rule."""
    login: str = "mallory"
    effect: str = "state"
    """``state``: of the whole server. ``leak``: a secret reaches the client. ``session``: what
    ``probe`` answers in the client's own session."""
    probe: str = ""
    versions: tuple[int, int] = (12, 18)
    gap: str = ""
    """Why it is known to slip; such an entry must slip, or the word is out of date."""
    alone: bool = False
    """Not to be played a second time within a transaction."""
    outside: bool = False
    """Its setup changes what lies outside schema attack, so the world is looked at behind it."""
    options: str = ""
    """Startup options of its session."""

    def runs_on(self, major: int) -> bool:
        return self.versions[0] <= major <= self.versions[1]


@cache
def load(folder: Path = FOLDER) -> tuple[Entry, ...]:
    """All entries, in the order of files. Raises CorpusError."""
    entries = tuple(entry for file in sorted(folder.glob("*.yaml")) for entry in _read(file))
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            raise CorpusError(f"the id {entry.id} is given twice")
        seen.add(entry.id)
    return entries


def _read(file: Path) -> Iterator[Entry]:
    # The same in C: the corpus is read in every process that collects tests.
    document = yaml.load(file.read_text(), Loader=yaml.CSafeLoader)
    common = {key: document[key] for key in ("rule", "login", "effect") if key in document}
    harmless = bool(document.get("harmless"))
    for fields in document.get("entries", []):
        yield _entry(common | fields, str(document["family"]), harmless)
    for payload in document.get("payloads", []):
        for template in document["templates"]:
            if payload["kind"] in template["kinds"]:
                yield _entry(_filled(common, payload, template), str(payload["family"]), harmless)


def _filled(common: dict[str, Any], payload: dict[str, Any], template: dict[str, Any]) -> dict:
    """The template with the payload's text in its places."""
    words = {
        "sql": payload["sql"],
        "body": payload.get("body", payload["sql"]),
        "returning": payload["sql"] + (" RETURNING 1" if payload["kind"] == "dml" else ""),
        "pieces": _pieces(payload.get("body", payload["sql"])),
        "escaped": "".join(f"\\x{ord(c):02x}" for c in payload.get("body", payload["sql"])),
    }

    def fill(value: Any) -> Any:
        if isinstance(value, list):
            return [fill(item) for item in value]
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        for word, text in words.items():
            value = value.replace(f"{{{word}}}", text) if isinstance(value, str) else value
        return value

    own = {key: payload[key] for key in ("rule", "login", "effect", "versions") if key in payload}
    rest = {key: fill(value) for key, value in template.items() if key not in ("kinds", "name")}
    name = template.get("name", template["path"])
    out = common | own | rest | {"id": f"{payload['id']}/{name}"}
    if "versions" in own and "versions" in rest:
        both = own["versions"], rest["versions"]
        out["versions"] = [max(v[0] for v in both), min(v[1] for v in both)]
    return out


def _pieces(text: str) -> str:
    """A text as an expression that puts it together, so that no word of it stands anywhere."""
    parts = _PIECE.findall(text)
    return " || ".join("'{}'".format(part.replace("'", "''")) for part in parts)


def _entry(fields: dict[str, Any], family: str, harmless: bool) -> Entry:
    name = str(fields.get("id"))
    if unknown := fields.keys() - FIELDS:
        raise CorpusError(f"{name}: unknown fields {sorted(unknown)}")
    path = fields["path"]
    if path not in PATHS:
        raise CorpusError(f"{name}: no such path {path}")
    effect, _, probe = str(fields.get("effect", "state")).partition(": ")
    if effect not in EFFECTS or (effect == "session") != bool(probe):
        raise CorpusError(f"{name}: no such effect {fields['effect']}")
    send = fields.get("send", _SEND_OF_PATH.get(path, "simple"))
    steps = fields["sql"] if isinstance(fields["sql"], list) else [fields["sql"]]
    encoding = fields.get("encoding", "utf-8")
    return Entry(
        id=f"{'look_alikes/' if harmless else ''}{family}/{name}",
        family=family,
        path=path,
        steps=tuple(_step(one, send, encoding) for one in steps),
        harmless=harmless,
        setup=fields.get("setup", ""),
        rule=fields.get("rule", ""),
        login=fields.get("login", "mallory"),
        effect=effect,
        probe=probe,
        versions=tuple(fields.get("versions", (12, 18))),
        gap=fields.get("gap", ""),
        alone=bool(fields.get("alone")),
        outside=bool(fields.get("outside")),
        options=fields.get("options", ""),
    )


def _step(given: Any, send: str, encoding: str) -> Step:
    """A text, or ``{call: function}`` and the like: another way to send this one step."""
    if isinstance(given, dict):
        ((send, given),) = given.items()
    if send not in SENDS:
        raise CorpusError(f"no such way to send: {send}")
    text = _REPEAT.sub(lambda found: found[1] * int(found[2]), str(given))
    return Step(text.encode(encoding, "surrogateescape"), send)
