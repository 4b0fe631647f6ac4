"""What others replicate from here, or what comes from others, is cut off."""

from __future__ import annotations

from typing import Any

from agent.sql.tree import Node, option_text, options, switched_on, unwrap

_OF_SUBSCRIPTION = frozenset({"SET_PUBLICATION", "DROP_PUBLICATION", "SKIP"})
_PUBLISHED = ("insert", "update", "delete")


def cuts_replication(kind: str, fields: Node) -> bool:
    """Of a statement that is no query."""
    match kind:
        case "DropSubscriptionStmt":
            return True
        case "DropStmt":
            return fields.get("removeType") == "OBJECT_PUBLICATION"
        case "AlterPublicationStmt":
            taken = fields.get("action") in ("AP_DropObjects", "AP_SetObjects")
            return (taken and "pubobjects" in fields) or _publishes_less(fields)
        case "AlterSubscriptionStmt":
            return _stops(fields)
    return False


def _publishes_less(fields: Node) -> bool:
    """``SET (publish = 'insert')``."""
    said = [option_text(given) or "" for name, given in options(fields) if name == "publish"]
    return any(word not in text for text in said for word in _PUBLISHED)


def _stops(fields: Node) -> bool:
    if str(fields.get("kind")).removeprefix("ALTER_SUBSCRIPTION_") in _OF_SUBSCRIPTION:
        return True
    return any(
        (name == "enabled" and not switched_on(given)) or (name == "slot_name" and _is_none(given))
        for name, given in options(fields)
    )


def _is_none(given: Any) -> bool:
    return (option_text(given) or "").lower() == "none"


def hides_old_rows(change: Node) -> bool:
    """``ALTER TABLE ... REPLICA IDENTITY NOTHING``: what is published of it can change no more."""
    return unwrap(change.get("def"))[1].get("identity_type") == "n"
