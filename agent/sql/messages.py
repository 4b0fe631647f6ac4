"""Server error messages without the values that they quote."""

from __future__ import annotations

import re

from agent.sql.message_templates import is_known
from agent.sql.redact import is_name

MAX_MESSAGE_CHARS = 2_000

_NOUNS = (
    "relation|table|view|materialized view|sequence|index|constraint|column|role|user|database"
    "|schema|extension|parameter|tablespace|policy|trigger|publication|subscription|language"
    "|server|function|procedure|encoding"
)
_NOUN = re.compile(rf"\b({_NOUNS}) \Z", re.IGNORECASE)
_QUOTED = re.compile(r'"([^"]*)"(?=[\s,;.:)]|\Z)')
_KEY = re.compile(r"Key \((.*?)\)=\(.*\)", re.DOTALL)
_COLUMNS = re.compile(r"[^\W\d]\w*(?:, [^\W\d]\w*)*\Z")
_NEAR = re.compile(r"(at or near|invalid regular expression:|syntax error in \w+:).*", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w\"])[-+]?\.?\d[\w.:+-]*")
_PARENTHESES = re.compile(r"\(.*\)", re.DOTALL)
_NOTHING_HAS_IT = re.compile(
    r"does not exist|specified more than once|^unrecognized configuration parameter"
    r"|^permission denied to set parameter|^(?:missing|invalid reference to) FROM-clause entry"
)
_ASKED_FOR = re.compile(
    rf'\b({_NOUNS}|type|domain|aggregate|routine) ("[^"]*"|[^\W\d][\w$.-]*)(?=[\s(]|\Z)',
    re.IGNORECASE,
)
_WORD = re.compile(r"[\w$]+")
_USER_WRITTEN = "P0001"
"""raise_exception: the words are the application's own and may be anything."""
_OUR_REFUSAL = re.compile(
    r"permission denied for database ((?:[^\W\d][\w$-]{0,62} )?)"
    r"\(blocked by pgwarden: rule ([\w./-]{1,64})[:.)].*",
    re.DOTALL,
)
WITHHELD = "(message withheld)"


def redact_message(text: str, sqlstate: str, shown: str) -> str:
    """A server error message without values; names stay where the wording makes them sure.
    ``shown``: what is on record beside it, the redacted text among it.

    A name after ``relation``, ``constraint`` and the like is kept. ``column "x" does not exist`` is
    not: that is what a string in double quotes looks like to PostgreSQL. Anything else quoted, in
    parentheses, or numeric becomes ``?``. A name that the server does not know stays only if it is
    shown anyway: ``'x'::regclass`` and a bound value make a name of any string. A message that
    PostgreSQL does not word so itself is withheld: a function may raise any words under any
    ``sqlstate``.
    """
    text = text[:MAX_MESSAGE_CHARS]
    if sqlstate == _USER_WRITTEN:
        return "(raised by application code)"
    ours = _OUR_REFUSAL.fullmatch(text)
    if ours is not None:
        database, rule = ours.groups()
        return f"permission denied for database {database}(blocked by pgwarden: rule {rule})"
    if text and not is_known(text, sqlstate):
        return WITHHELD
    text = _KEY.sub(_redact_key, text)
    text = _NEAR.sub(r'\1 "?"', text)
    text = _redact_quotes(text)
    text = _redact_parentheses(text)
    if _NOTHING_HAS_IT.search(text):
        text = _redact_strangers(text, shown)
    return _NUMBER.sub("?", text)


def _redact_strangers(text: str, shown: str) -> str:
    words = set(_WORD.findall(shown.lower()))

    def known(match: re.Match[str]) -> str:
        noun, name = match.groups()
        return match[0] if words.issuperset(_WORD.findall(name.lower())) else f'{noun} "?"'

    return _ASKED_FOR.sub(known, text)


def _redact_key(match: re.Match[str]) -> str:
    columns = match.group(1)
    return f"Key [{columns if _COLUMNS.match(columns) else '?'}]=[?]"


def _redact_quotes(text: str) -> str:
    """The first quote that holds no sure name hides everything up to the last quote.

    A value may itself hold quotes, so where it ends cannot be told from the text.
    """
    kept: list[str] = []
    at = 0
    while (quote := _first_quote(text, at)) >= 0:
        name = _sure_name(text, quote)
        if name is None:
            last = max(text.rfind('"'), text.rfind("'"))
            return (
                "".join(kept) + text[at:quote] + '"?"' + (text[last + 1 :] if last > quote else "")
            )
        kept.append(text[at:name])
        at = name
    return "".join(kept) + text[at:]


def _first_quote(text: str, at: int) -> int:
    found = [i for i in (text.find('"', at), text.find("'", at)) if i >= 0]
    return min(found, default=-1)


def _sure_name(text: str, quote: int) -> int | None:
    """Where a kept name ends that begins at ``quote``, or None if it must go."""
    noun = _NOUN.search(text[max(0, quote - 24) : quote])
    quoted = _QUOTED.match(text, quote)
    if noun is None or quoted is None or not is_name(quoted.group(1)):
        return None
    missing = text.startswith(" does not exist", quoted.end())
    return None if missing and noun.group(1).lower() == "column" else quoted.end()


def _redact_parentheses(text: str) -> str:
    text = _PARENTHESES.sub("(?)", text)
    return text.replace("[?]", "(?)").replace("Key [", "Key (").replace("]=(?)", ")=(?)")
