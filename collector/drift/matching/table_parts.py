"""Whether an ALTER TABLE can have changed a column that was there and still is: by its text, each
of its actions for itself."""

from __future__ import annotations

from collector.drift import wording
from collector.drift.wording import Words

COLUMN = "column "
_HIDDEN = frozenset(("?", "&"))
_BEGINS = frozenset(
    (
        "add", "alter", "drop", "rename", "set", "reset", "enable", "disable", "force", "no",
        "validate", "owner", "cluster", "replica", "inherit", "attach", "detach", "of", "not",
        "without",
    )
)  # fmt: skip
_OF_TABLE = frozenset(
    ("enable", "disable", "force", "validate", "owner", "cluster", "replica", "reset")
)
_SETS_OF_TABLE = frozenset(("(", "tablespace", "logged", "unlogged", "access"))
_CONSTRAINTS = frozenset(("constraint", "check", "unique", "foreign", "exclude"))


def may_change(words: Words, key: str) -> bool:
    """``words``: of an ALTER TABLE; ``key``: of the column's line."""
    name = wording.unquoted(key.removeprefix(COLUMN))
    begin = next((at for at in range(3, len(words)) if words[at] in _BEGINS), None)
    if begin is None or key.startswith(f"{COLUMN}U&"):
        return True
    return any(_may(action, name) for action in wording.at_commas(words[begin:]))


def _may(action: Words, name: str) -> bool:
    if name in action[:6] and action[0] in ("add", "alter", "drop"):
        return action[0] != "add" or action[1] not in _CONSTRAINTS or "primary" in action
    if _HIDDEN & {*action[:6]} or "primary" in action[:4] or "cascade" in action:
        return True
    if action[0] in ("add", "alter", "drop", *_OF_TABLE):
        return False
    set_of_table = action[0] == "set" and {*action[1:2]} <= _SETS_OF_TABLE
    return not set_of_table and [*action[:2]] != ["no", "force"]
