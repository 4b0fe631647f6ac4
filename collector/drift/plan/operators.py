"""Casts and operators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from collector.drift.baseline import Difference
from collector.drift.lines import lines_of, parts
from collector.drift.plan.quoting import NotSqlError, name, role
from collector.drift.plan.steps import Phase, Step, World, by_hand
from model.catalog import CatalogKind, DriftChange

_CONTEXT = {"implicit": " AS IMPLICIT", "assignment": " AS ASSIGNMENT", "explicit": ""}
_WITH = "with function "
_ESTIMATES = ("restrict", "join")
_OTHERS = ("commutator", "negator")


def cast(difference: Difference, _world: World, _database: str) -> Iterator[Step]:
    """There is no ALTER CAST: one that is other is made anew."""
    if difference.change is not DriftChange.REMOVED:
        yield Step(Phase.DROP_PART, f"DROP CAST ({difference.name})")
    if difference.change is not DriftChange.ADDED:
        wanted = lines_of(difference.desired)
        way = wanted.get("way", "")
        # Words of SQL in front of a name, which stays as it is.
        words = f"WITH FUNCTION {way.removeprefix(_WITH)}" if way.startswith(_WITH) else way.upper()
        context = _CONTEXT.get(wanted.get("context", ""), "")
        yield Step(Phase.CODE, f"CREATE CAST ({difference.name}) {words}{context}")


def operator(difference: Difference, _world: World, _database: str) -> Iterator[Step]:
    who, left, right = _signature(difference.name)
    about = f"{who} ({left}, {right})"
    wanted = lines_of(difference.desired)
    if difference.change is DriftChange.ADDED:
        yield Step(Phase.DROP_PART, f"DROP OPERATOR {about}")
        return
    if difference.change is DriftChange.REMOVED:
        yield Step(Phase.CODE, f"CREATE OPERATOR {who} ({', '.join(_made(wanted, left, right))})")
        if wanted.get("owner"):
            yield Step(Phase.OWNER, f"ALTER OPERATOR {about} OWNER TO {role(wanted['owner'])}")
        return
    for part in parts(CatalogKind.OPERATOR, difference):
        if part.key == "owner" and part.before:
            yield Step(Phase.OWNER, f"ALTER OPERATOR {about} OWNER TO {role(part.before)}")
        elif part.key in _ESTIMATES:
            function = name(part.before) if part.before else "NONE"
            yield Step(Phase.PART, f"ALTER OPERATOR {about} SET ({part.key.upper()} = {function})")
        else:
            is_now, should = part.after or "not set", part.before or "not set"
            sentence = f"operator {difference.name}: {part.key} is {is_now}, should be {should}"
            yield by_hand(Phase.PART, sentence)


def _signature(text: str) -> tuple[str, str, str]:
    """``hr.+(integer, integer)``: signs and types are checked when the statement is read."""
    who, mark, arguments = text.rpartition("(")
    left, comma, right = arguments.removesuffix(")").partition(", ")
    if not (mark and comma and who):
        raise NotSqlError(f"{text!r} is not an operator with its two types")
    return who, left, right


def _made(wanted: Mapping[str, str], left: str, right: str) -> Iterator[str]:
    yield f"FUNCTION = {name(wanted.get('function', '').partition('(')[0])}"
    yield from (f"{word} = {type_}" for word, type_ in (("LEFTARG", left), ("RIGHTARG", right))
                if type_ != "NONE")  # fmt: skip
    for key in _OTHERS:
        if key in wanted:
            sign = wanted[key].rpartition("(")[0]
            yield f"{key.upper()} = OPERATOR({sign if '.' in sign else f'pg_catalog.{sign}'})"
    yield from (f"{key.upper()} = {name(wanted[key])}" for key in _ESTIMATES if key in wanted)
    yield from (key.upper() for key in ("hashes", "merges") if wanted.get(key) == "yes")
