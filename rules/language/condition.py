"""A rule's ``when``: from text to a program that is known to answer yes or no."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from model.session import BackendKey, Identity, IdentityKind, Session
from model.statement import ParseStatus, Shape
from rules.calendar import NO_MOMENT, Moment
from rules.language.cel import CelError, EvaluationError, Program, Values
from rules.language.expression import Known, Mistake, Token, check_names
from rules.language.types import check_types, kind_of
from rules.view import FIELDS, ROOTS, View, readings, variables

MAX_EXPRESSION_CHARACTERS = 16_384


@dataclass(frozen=True, slots=True)
class Condition:
    program: Program
    fields: frozenset[str]

    @property
    def needs_parse(self) -> bool:
        """False where the rule looks at the parse status itself: then it has decided."""
        return "statement.parsed" not in self.fields and any(
            FIELDS[field].parsed for field in self.fields
        )


def compile_condition(
    expression: str, known: Known
) -> tuple[Condition | None, tuple[Mistake, ...]]:
    """The condition, or None with all mistakes that could be found."""
    if len(expression) > MAX_EXPRESSION_CHARACTERS:
        return None, (Mistake(0, f"longer than {MAX_EXPRESSION_CHARACTERS} characters"),)
    try:
        Program(expression)
    except CelError as error:
        return None, (Mistake(error.offset, error.message),)
    names = check_names(expression, FIELDS, ROOTS, known)
    mistakes = names.mistakes + tuple(_bad_patterns(names.patterns))
    if not mistakes:
        constants = {f"vars.{name}": kind_of(value) for name, value in known.variables.items()}
        mistakes = check_types(expression, KINDS | constants)
    if mistakes:
        return None, mistakes
    try:
        program = Program(names.inlined)
    except CelError as error:
        return None, (Mistake(0, f"with the values of vars in place: {error.message}"),)
    condition = Condition(program, names.fields)
    mistake = _rehearse(condition)
    return (None, (mistake,)) if mistake else (condition, ())


def _bad_patterns(patterns: tuple[Token, ...]) -> Iterator[Mistake]:
    for pattern in patterns:
        try:
            Program(f"''.matches({pattern.text})").evaluate(Values({}))
        except (CelError, EvaluationError):
            yield Mistake(pattern.offset, f"{pattern.text} is not a regular expression")


def _rehearse(condition: Condition) -> Mistake | None:
    """Evaluate on sample views: the library has no type checker, and ours knows the plain cases.

    Errors of values (an index out of bounds, a division by zero) may be what the samples cause.
    """
    wanted = readings(condition.fields)
    for view in SAMPLES:
        try:
            result = condition.program.evaluate(Values(variables(view, wanted)))
        except EvaluationError as error:
            if isinstance(error.__cause__, TypeError | RuntimeError):
                return Mistake(0, f"does not fit the types of its operands: {error}")
            continue
        if not isinstance(result, bool):
            return Mistake(0, f"must be true or false, but gives {_type_name(result)}")
    return None


def _type_name(value: object) -> str:
    return {"str": "text", "int": "a number", "float": "a number"}.get(
        type(value).__name__, f"a {type(value).__name__}"
    )


def _samples() -> Iterator[View]:
    names = ("public.a", "b")
    empty = Shape(ParseStatus.INVALID, "", "")
    full = Shape(
        status=ParseStatus.PARSED,
        digest="0",
        redacted_text="",
        operation="select",
        summary="SELECT a",
        verbs=("select",),
        objects=("table:public.a", "role:b"),
        reads=names,
        writes=names,
        columns=names,
        functions=names,
        settings=names,
        roles=names,
        flags=("limit",),
    )
    for shape, address, superuser in product((empty, full), ("local", "10.0.0.1"), (False, True)):
        identity = Identity(IdentityKind.AI_AGENT if superuser else IdentityKind.HUMAN, "n", 0.5)
        session = Session(
            BackendKey(1, 1), "c", "u", "d", "a", address, superuser=superuser, identity=identity
        )
        moment = Moment(3, "sat", "2026-01-03", names) if superuser else NO_MOMENT
        classes = names if shape is full else ()
        yield View(shape, session, 10, moment=moment, data_classes=classes, usual_rows=1000)


SAMPLES = tuple(_samples())
KINDS = {name: kind_of(field.read(SAMPLES[-1])) for name, field in FIELDS.items()}
