"""Settings, roles, memberships, databases, tablespaces and replication slots."""

from __future__ import annotations

from collector.drift import wording
from collector.drift.changes import SLOT_FUNCTIONS, Change
from collector.drift.matching.owners import reassigned
from collector.drift.matching.reserved import left_out
from collector.drift.matching.target import CAUSED, EXACT, NAMED, POSSIBLE, Target, about
from collector.drift.reloads import PENDING, of_server

OWN_FILE = "postgresql.auto.conf"
NO_FILE_NAME = "configuration file"
"""What a role sees that may not see the names of files."""
NOT_BY_SQL = frozenset(("command line", "environment variable", "override"))
_TRUTH = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}
_SET_TO = "set to"
"""So an agent tells the value of an ALTER SYSTEM, and the line that came of one."""
_OTHER_SORT = {"logical": "physical", "physical": "logical"}
"""Of replication slots."""
_ROLE = frozenset(("role",))
_SELF = frozenset(("current_user", "session_user", "current_role"))


def could_be_sql(target: Target) -> bool:
    """SQL cannot write postgresql.conf: a value that came from there and still does was edited."""
    step = target.step
    if not of_server(target.scope, step):
        return True
    if PENDING in step.observed:
        return True  # the file that is shown is still that of the old value
    before, after = step.details
    if after in NOT_BY_SQL and not (after == "environment variable" and OWN_FILE in before):
        return False  # only the environment is less than a file: a line that went leaves it
    if OWN_FILE in before or OWN_FILE in after:
        return True
    if any(source.startswith(f"{NO_FILE_NAME} ") for source in (before, after)):
        return False
    # Without the right to see file names nothing can be excluded.
    shown = ([] if target.added else [before]) + ([] if target.removed else [after])
    return any(source in ("", NO_FILE_NAME) for source in shown)


def setting(change: Change, target: Target) -> int:
    name, _, where = target.step.name.lower().partition("@")
    if "alter" not in change.verbs and "drop" not in change.verbs:
        return 0
    set_here = EXACT if name in change.settings else NAMED if "all" in change.settings else 0
    if not where:
        is_of_system = "alter system" in f"{change.heading} {change.summary.lower()}"
        return set_here if is_of_system and not _says_otherwise(change, target) else 0
    words = target.step.name.partition("@")[2].split("/")
    named = change.roles | {about for kind, about in change.objects if kind == "database"}
    named |= {rename.new for rename in change.renames if change.types & {"role", "database"}}
    if {*words} - {"all"} and not {*words} & named:
        return 0
    if any(renamed_role(change, target, word) for word in words):
        return NAMED
    databases = {about for kind, about in change.objects if kind == "database"}
    said = wording.tokens(change.said)
    if set_here and target.removed and "set" in said and not {"reset", "default"} & {*said}:
        return 0  # what it set is gone
    in_database = change.types >= {"role", "database"}
    if set_here and in_database and not databases & {*words}:
        return 0  # ALTER ROLE ... IN DATABASE
    if set_here and len(words) > 1 and not (in_database or _is_vague(change)):
        return 0
    if set_here:
        return set_here if change.types & {"role", "database"} or words == ["all"] else 0
    return CAUSED if "drop" in change.verbs and target.removed else 0


def _is_vague(change: Change) -> bool:
    """Its text is that of several statements, or not all of it is known."""
    return "multi" in change.flags or change.contained or not change.text


def _says_otherwise(change: Change, target: Target) -> bool:
    """It gave another value than what is there now, as far as redaction shows the value."""
    if "multi" in change.flags or change.contained or target.removed:
        return False
    said = wording.system_value(wording.tokens(change.said))
    old, new = target.step.desired.lower(), target.step.observed.lower()
    if PENDING in new:
        return False
    if _wrote_another_line(change, target.step.details[1]):
        return True
    if said in _TRUTH and new in _TRUTH:
        return _TRUTH[said] is not _TRUTH[new]
    return said != "" and said == old  # words may be shown as other ones: on as pglz


def _wrote_another_line(change: Change, source: str) -> bool:
    """``source``: where the value comes from now, with a hash of the line where that is
    postgresql.auto.conf and the agent tells it; see agent/catalog/items/system_value.py."""
    words = wording.tokens(change.said)
    if [*words[:2]] != ["alter", "system"] or len(words) < 3:
        return False
    leaves_none = words[2] == "reset" or words[-1] == "default"
    if OWN_FILE not in source:
        elsewhere = source == "default" or source.startswith(f"{NO_FILE_NAME} ")
        return elsewhere and not leaves_none
    told = next((text for kind, text in change.objects if kind == _SET_TO), "")
    key, _, line = source.partition(f"; {_SET_TO} ")[2].partition("-")
    its_key, _, written = told.partition("-")
    return leaves_none or (bool(line) and key == its_key and line != written)


def role(change: Change, target: Target) -> int:
    name = target.step.name
    if not about(change, _ROLE, (name,)) and not renamed_role(change, target, name):
        return 0
    if target.added:
        return EXACT if "create" in change.verbs or renamed_role(change, target, name) else 0
    if target.removed:
        return EXACT if "drop" in change.verbs or renamed_role(change, target, name) else 0
    if change.settings and change.heading.startswith("alter") and "multi" not in change.flags:
        return 0  # ALTER ROLE ... SET: what it stores is a setting and no attribute
    return EXACT if change.verbs & {"alter", "create"} else 0


def membership(change: Change, target: Target) -> int:
    return max((_member(change, target, *pair) for pair in target.roles), default=0)


def _member(change: Change, target: Target, group: str, member: str) -> int:
    if change.verbs & {"grant", "revoke"} and ("role", group) in change.objects:
        if not _names(change, member):
            return 0
        wrong = {"grant"} if target.removed else {"revoke"} if target.added else set()
        return 0 if wrong and wrong >= change.verbs & {"grant", "revoke"} else EXACT
    if "role" not in change.types:
        return 0
    about_one = any(("role", name) in change.objects for name in (group, member))
    # Those that CREATE ROLE names besides are members of the new role, not of each other.
    named = {group, member} <= change.roles and (about_one or change.contained)
    if named and change.verbs & {"create", "alter", "drop"}:
        return NAMED
    if any(renamed_role(change, target, name) for name in (group, member)):
        return NAMED
    if about_one and "drop" in change.verbs and target.removed:
        return CAUSED
    # From 16 on who creates a role is its admin.
    made = ("role", group) in change.objects and "create" in change.verbs and target.added
    return NAMED if made and change.user == member else 0


def database(change: Change, target: Target) -> int:
    return _of_cluster(change, target, "database")


def with_its_database(change: Change, target: Target) -> int:
    """DROP DATABASE takes all that lies in it, and a rename gives it to another name. One that is
    made anew comes with all that is in its template."""
    name = target.scope.database
    if not name or ("database", name) not in change.objects:
        return 0
    if not target.removed:
        return CAUSED if "create" in change.verbs else 0
    renamed = any(rename.old == name for rename in change.renames)
    return CAUSED if renamed or "drop" in change.verbs else 0


def tablespace(change: Change, target: Target) -> int:
    return _of_cluster(change, target, "tablespace")


def slot(change: Change, target: Target) -> int:
    made, dropped = "create" in change.verbs, "drop" in change.verbs
    if found := about(change, frozenset(("slot",)), target.parts):
        return found if not ((target.added and dropped) or (target.removed and made)) else 0
    if ("slot", "?") in change.objects:
        return CAUSED if not ((target.added and dropped) or (target.removed and made)) else 0
    called = change.functions & SLOT_FUNCTIONS
    if called:
        drops = called == {"pg_drop_replication_slot"}
        return CAUSED if drops == target.removed and _may_make(called, target) else 0
    if about(change, frozenset(("subscription",)), target.parts):
        return CAUSED
    return POSSIBLE if "subscription" in change.types else 0


def _may_make(called: frozenset[str], target: Target) -> bool:
    """Its name says which sort of slot it makes."""
    sort = target.after.get("type", "")
    others = {each for each in called if f"_{_OTHER_SORT.get(sort)}_" in each}
    return not target.added or others != called


def names_role(change: Change, role: str) -> bool:
    """It names the role, or says CURRENT_USER and is from its session."""
    if role == "PUBLIC":
        return "public" in change.flags
    return _names(change, role)


def _names(change: Change, role: str) -> bool:
    return role in change.roles or (bool(change.roles & _SELF) and role == change.user)


def renamed_role(change: Change, target: Target, name: str) -> bool:
    """It took this name away from a role or database, or gave it."""
    if not change.types & {"role", "database"}:
        return False
    old = any(name == rename.old for rename in change.renames)
    new = any(name == rename.new for rename in change.renames)
    return new if target.added else old if target.removed else old or new


def _of_cluster(change: Change, target: Target, kind: str) -> int:
    if found := about(change, frozenset((kind,)), target.parts):
        if target.added:
            return found if "create" in change.verbs else 0
        if target.removed:
            unsaid = not change.heading or "multi" in change.flags or change.contained
            takes = "drop" in change.verbs or bool(change.renames)
            return found if takes or (unsaid and "alter" in change.verbs) else 0
        if left_out(change, target):
            return 0
        if target.changed == ("owner",) and target.after.get("owner", "") not in change.roles:
            return POSSIBLE if change.verbs & {"alter"} and not change.renames else 0
        return found if change.verbs & {"alter", "create"} and not change.renames else 0
    if kind in change.types and any(rename.new in target.parts for rename in change.renames):
        return NAMED
    return owner_changed(change, target)


def owner_changed(change: Change, target: Target) -> int:
    """REASSIGN OWNED BY old TO new, or a role that has another name."""
    if "owner" not in target.changed or target.added or target.removed:
        return 0
    old, new = target.before.get("owner", ""), target.after.get("owner", "")
    whose = {role for olds, news in reassigned(change, new) if new in news for role in olds}
    if old in whose:
        return NAMED
    if target.owners & whose - {new}:
        return EXACT + 2  # what an ALTER that says owner and name is as good as
    is_rename = "role" in change.types and any((r.old, r.new) == (old, new) for r in change.renames)
    return NAMED if is_rename else 0
