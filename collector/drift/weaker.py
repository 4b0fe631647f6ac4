"""Values of settings that have an order: is the new one weaker than the old one?"""

from __future__ import annotations

import math
import re

PROTOCOLS = ("", "tlsv1", "tlsv1.1", "tlsv1.2", "tlsv1.3")
"""Empty: any."""
WEAK_CIPHERS = re.compile(
    r"(?<![!-])\b(a?null|enull|export|low|rc4|3?des|md5|adh|aecdh|all)\b", re.I
)
LEVELS = ("none", "ddl", "mod", "all")
_OFF = frozenset(("off", "false", "no", "0", "none"))
_ON = frozenset(("on", "true", "yes", "1", "all"))
_STEPS = frozenset(("receipt", "authentication", "authorization", "setup_durations"))
"""Of ``log_connections`` from 18 on."""
_CERTIFICATE = re.compile(r"^cert\b|\bclientcert=verify-(?:ca|full)\b")
_MODE = re.compile(r"[0-7]{1,5}")
_DURATION = re.compile(r"(?P<amount>-?\d+) *(?P<unit>us|ms|s|min|h|d)?")
_IN_MILLISECONDS = {
    "us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000,
}  # fmt: skip
_NUMBER = re.compile(r"^-?\d+")


def lower_number(before: str, after: str) -> bool:
    """
    >>> lower_number("4096", "1024"), lower_number("1024", "4096"), lower_number("", "4096")
    (True, False, False)
    """
    old, new = _NUMBER.match(before), _NUMBER.match(after)
    return old is not None and new is not None and int(new[0]) < int(old[0])


def lower_protocol(before: str, after: str) -> bool:
    """
    >>> lower_protocol("TLSv1.2", "TLSv1"), lower_protocol("TLSv1.2", "TLSv1.3")
    (True, False)
    """
    old, new = before.lower(), after.lower()
    if old not in PROTOCOLS or new not in PROTOCOLS:
        return True
    return PROTOCOLS.index(new) < PROTOCOLS.index(old)


def weaker_ciphers(before: str, after: str) -> bool:
    """
    >>> weaker_ciphers("HIGH:!aNULL", "HIGH:MEDIUM:!aNULL:RC4")
    True
    >>> weaker_ciphers("HIGH", "HIGH:!aNULL")
    False
    """
    return bool({*WEAK_CIPHERS.findall(after)} - {*WEAK_CIPHERS.findall(before)}) or (
        "!anull" in before.lower() and "!anull" not in after.lower()
    )


def logs_less(before: str, after: str) -> bool:
    """``log_statement``.

    >>> logs_less("all", "ddl"), logs_less("none", "ddl")
    (True, False)
    """
    if before not in LEVELS or after not in LEVELS:
        return after in LEVELS[:1]
    return LEVELS.index(after) < LEVELS.index(before)


def logs_not_more(before: str, after: str) -> bool:
    """Switches and levels of the log, unless it surely holds what it held. A role's own setting
    that was not there may have been anything.

    >>> logs_not_more("on", "off"), logs_not_more("off", "on"), logs_not_more("none", "ddl")
    (True, False, False)
    >>> logs_not_more("on", "authorization"), logs_not_more("", "all"), logs_not_more("", "ddl")
    (True, False, True)
    """
    if before in LEVELS and after in LEVELS:
        return LEVELS.index(after) < LEVELS.index(before)
    old, new = _switched_on(before), _switched_on(after)
    if new == _STEPS:
        return False
    return old is None or new is None or not old <= new


def logs_fewer_durations(before: str, after: str) -> bool:
    """From how long on a statement is logged; -1 is never. Not known: it may be fewer.

    >>> logs_fewer_durations("5s", "-1"), logs_fewer_durations("200ms", "5s")
    (True, True)
    >>> logs_fewer_durations("-1", "5s"), logs_fewer_durations("5s", "0")
    (False, False)
    """
    old, new = _milliseconds(before), _milliseconds(after)
    return old is None or new is None or new > old


def _milliseconds(text: str) -> float | None:
    found = _DURATION.fullmatch(text)
    if found is None:
        return None
    amount = int(found["amount"])
    return math.inf if amount < 0 else amount * _IN_MILLISECONDS[found["unit"] or "ms"]


def _switched_on(value: str) -> frozenset[str] | None:
    """None: it is no switch, or not known."""
    words = frozenset(word.strip().lower() for word in value.split(","))
    if words <= _OFF:
        return frozenset()
    if words <= _ON:
        return _STEPS
    return words if words <= _STEPS else None


def wider_mode(before: str, after: str) -> bool:
    """``unix_socket_permissions``: somebody has a right more.

    >>> wider_mode("0770", "0777"), wider_mode("0777", "0700"), wider_mode("", "0777")
    (True, False, False)
    """
    if not _MODE.fullmatch(before) or not _MODE.fullmatch(after):
        return False
    return bool(int(after, 8) & ~int(before, 8))


def audits_less(before: str, after: str) -> bool:
    """``pgaudit.log``: a class is gone or excluded.

    >>> audits_less("ddl, write", "ddl"), audits_less("ddl", "ddl, read")
    (True, False)
    >>> audits_less("all", "all, -misc")
    True
    """
    old, new = _classes(before), _classes(after)
    gone = old - new - {"none"} if "all" not in new else set()
    excluded = {word for word in new - old if word.startswith("-")}
    return bool(gone or excluded)


def asks_no_certificate(before: str, after: str) -> bool:
    """Rules of pg_hba.conf: ``cert`` or ``clientcert=verify-...`` is gone and clients are let in.

    >>> asks_no_certificate("cert", "scram-sha-256"), asks_no_certificate("cert", "reject")
    (True, False)
    """
    asked, asks = (_CERTIFICATE.search(rule) is not None for rule in (before, after))
    return asked and not asks and bool(after) and not after.startswith("reject")


def audits_nothing(before: str, after: str) -> bool:
    """``pgaudit.log`` or ``log_statement``: something was audited, or may have been (a role's own
    setting that was not there), and nothing is.

    >>> audits_nothing("ddl", "all, -all"), audits_nothing("none", ""), audits_nothing("all", "ddl")
    (True, False, False)
    """
    return (not before or bool(_audited(before))) and not _audited(after)


def wider_path(before: str | None, after: str | None) -> bool:
    """``search_path`` of a function: another schema may hold what it calls. None: not set.

    >>> wider_path("hr, pg_temp", '"$user", public'), wider_path("hr, app", "hr, app, pg_temp")
    (True, False)

    Unless it stands last, everybody's own temporary schema is the first one for tables.

    >>> wider_path("hr, pg_temp", "hr"), wider_path("hr", "pg_catalog"), wider_path(None, "hr")
    (True, False, False)
    """
    if before is None or after is None:
        return False
    old, new = ([word.strip() for word in path.split(",")] for path in (before, after))
    more = {*new} - {*old} - {"pg_catalog", "pg_temp", '""', ""}
    return bool(more) or (old[-1] == "pg_temp" != new[-1])


def _audited(value: str) -> set[str]:
    """A class counts as its last mention says, and ``all`` stands for every one."""
    found: set[str] = set()
    for each in (word.strip().lower() for word in value.split(",")):
        if each in ("all", "-all", "none"):
            found.clear()
        if each.startswith("-"):
            found.discard(each[1:])
        elif each not in ("", "none"):
            found.add(each)
    return found


def _classes(value: str) -> set[str]:
    return {word.strip().lower() for word in value.split(",") if word.strip()}
