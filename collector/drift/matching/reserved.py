"""Lines that an ALTER sets only if it says so: what its text leaves out it has not done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from collector.drift import wording
from collector.drift.changes import Change
from collector.drift.matching.target import Target
from collector.drift.numbers import same_object
from model.catalog import CatalogKind

_ELSE = ""


def _table(lines: Mapping[str, str]) -> Mapping[str, frozenset[str]]:
    return {line: frozenset(words.split()) for line, words in lines.items()}


_WORDS: Mapping[CatalogKind, Mapping[str, frozenset[str]]] = {
    CatalogKind.DATABASE: _table({
        "allow connections": "allow_connections", "template": "is_template",
        "connection limit": "connection", "tablespace": "tablespace", _ELSE: "",
    }),
    CatalogKind.TABLESPACE: _table({"options": "set reset", _ELSE: ""}),
    CatalogKind.SCHEMA: _table({_ELSE: ""}),
    CatalogKind.TABLE: _table({
        "row security": "security", "persistence": "logged unlogged", "tablespace": "tablespace",
        "replica identity": "replica drop", "partition of": "attach detach", "inherits": "inherit",
        "access method": "access", "foreign options": "options", "kind": "", "server": "",
        "partition by": "",
    }),
    CatalogKind.SEQUENCE: _table({
        "persistence": "logged unlogged", "type": "as", "start": "start", "increment": "increment",
        "minimum": "minvalue as", "maximum": "maxvalue as", "cache": "cache", "cycle": "cycle",
        "owned by": "owned",
    }),
    CatalogKind.FUNCTION: _table({
        "security": "security", "volatility": "immutable stable volatile",
        "leakproof": "leakproof", "strict": "strict null", "parallel": "parallel",
        "set *": "set reset", _ELSE: "",
    }),
    CatalogKind.TYPE: _table({
        "labels": "value", "not null": "null constraint", "default": "default",
        "constraint *": "constraint check", "column *": "attribute", _ELSE: "",
    }),
    CatalogKind.OPERATOR: _table({
        "restrict": "restrict", "join": "join", "commutator": "commutator", "negator": "negator",
        "hashes": "hashes", "merges": "merges", _ELSE: "",
    }),
    CatalogKind.POLICY: _table({"roles": "to", "using": "using", "check": "check", _ELSE: ""}),
    CatalogKind.TRIGGER: _table({"enabled": "enable disable", _ELSE: ""}),
    CatalogKind.EVENT_TRIGGER: _table({"enabled": "enable disable", _ELSE: ""}),
    CatalogKind.EXTENSION: _table({
        "schema": "schema update", "member *": "add drop update schema",
        "other *": "add drop update schema", _ELSE: "update",
    }),
    CatalogKind.LANGUAGE: _table({_ELSE: ""}),
    CatalogKind.FOREIGN_SERVER: _table({
        "version": "version", "foreign options": "options", "handler": "handler no",
        "validator": "validator no", _ELSE: "",
    }),
    CatalogKind.PUBLICATION: _table({
        "operations": "publish", "via root": "publish_via_partition_root",
        "generated columns": "publish_generated_columns", "table *": "table tables",
        "schema *": "table tables", _ELSE: "",
    }),
    CatalogKind.SUBSCRIPTION: _table({
        "enabled": "enable disable", "slot": "slot_name", "publications": "publication",
        "connection": "connection", "synchronous commit": "synchronous_commit",
        "disable on error": "disable_on_error", "origin": "origin", "failover": "failover",
        "password required": "password_required", "run as owner": "run_as_owner",
    }),
}  # fmt: skip
"""By line, the words of which an ALTER of the object says one where it sets the line; none: it is
as it was made. ``column *``: whatever the column is called. ``_ELSE``: all other lines; where that
is missing any ALTER may set them."""
_OWNER = frozenset(("owner",))
_DIGEST = "digest"
"""Of a long value: another one whenever any line is."""


def is_reserved(target: Target, key: str) -> bool:
    kind = target.scope.kind
    return kind is CatalogKind.ROLE or _words_of(kind, key) is not None


def left_out(change: Change, target: Target) -> bool:
    """An ALTER with all of its text known, which says nothing of any line that differs."""
    # Another object by that name came with all its lines.
    if same_object(*target.step.details) is False or not _is_known(change):
        return False
    return not _may_set(change, target.scope.kind, target.changed)


def sets(change: Change, kind: CatalogKind, key: str) -> bool | None:
    """Whether an ALTER of the object is about such a line; None where its text does not tell."""
    words = _words_of(kind, key)
    if words is None or not _is_known(change):
        return None
    return bool(words & {*wording.tokens(change.said)})


def _may_set(change: Change, kind: CatalogKind, keys: Iterable[str]) -> bool:
    said = {*wording.tokens(change.said)}
    wanted = [_words_of(kind, key) for key in keys if key != _DIGEST]
    return not wanted or any(words is None or words & said for words in wanted)


def _words_of(kind: CatalogKind, key: str) -> frozenset[str] | None:
    if key == "owner":
        return _OWNER
    words = _WORDS.get(kind, {})
    patterns = (key, f"{key.partition(' ')[0]} *", _ELSE)
    return next((words[pattern] for pattern in patterns if pattern in words), None)


def _is_known(change: Change) -> bool:
    alone = "multi" not in change.flags and not change.contained
    is_whole = change.said != change.summary.strip()
    return alone and is_whole and change.heading.startswith("alter")
