"""The one place that knows which CEL library we use (docs/decisions/0002-cel.md)."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

EVALUATION_ERRORS = (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError)
"""What the library raises for an expression that fails on the values it is given."""

PLACE = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?(.*)")


class CelError(Exception):
    """An expression that does not compile. ``offset`` counts characters from 0."""

    def __init__(self, message: str, offset: int = 0) -> None:
        self.message = message
        self.offset = offset
        super().__init__(message)


class EvaluationError(Exception):
    """An expression that compiled and failed on the values at hand."""


def _native() -> ModuleType:
    """The Rust module alone: 3 MB.

    The package around it imports its own command line with typer, prompt_toolkit and pygments:
    26 MB more in an agent that has 120 for everything.
    """
    package = importlib.util.find_spec("cel")
    if package is None or not package.submodule_search_locations:
        raise ImportError("common-expression-language is not installed")
    folder = Path(package.submodule_search_locations[0])
    for suffix in EXTENSION_SUFFIXES:
        file = folder / f"cel{suffix}"
        if file.exists():
            loader = ExtensionFileLoader("cel.cel", str(file))
            spec = importlib.util.spec_from_file_location("cel.cel", file, loader=loader)
            assert spec is not None
            module = importlib.util.module_from_spec(spec)
            loader.exec_module(module)
            return module
    raise ImportError(f"{folder} holds no CEL extension module")


_cel = _native()


class Values:
    """Variables converted once, for all the programs that look at one statement."""

    __slots__ = ("_context",)

    def __init__(self, variables: Mapping[str, Mapping[str, object]]) -> None:
        try:
            self._context: Any = _cel.Context(variables=variables)
        except ValueError:
            # A lone surrogate (text that was not UTF-8) cannot be a CEL string.
            self._context = _cel.Context(variables=_scrubbed(variables))


class Program:
    """A compiled expression; safe to share between threads."""

    __slots__ = ("_program", "expression", "functions")

    def __init__(self, expression: str) -> None:
        self.expression = expression
        try:
            self._program: Any = _cel.compile(expression)
        except ValueError as error:
            raise _translated(str(error), expression) from None
        self.functions: tuple[str, ...] = tuple(self._program.functions())

    def evaluate(self, values: Values) -> object:
        """Raises EvaluationError, also where the result would need a value of another type."""
        try:
            result: object = self._program.execute(values._context)
        except EVALUATION_ERRORS as error:
            raise EvaluationError(_first_sentence(error)) from error
        return result


def literal(value: object) -> str:
    """``value`` as CEL source: text, number, boolean or a list of them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return f'"{"".join(map(_escaped, value))}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    raise TypeError(f"no CEL literal for {type(value).__name__}")


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def _scrubbed(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, Mapping):
        return {key: _scrubbed(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_scrubbed(each) for each in value]
    return value


def _translated(text: str, expression: str) -> CelError:
    place = PLACE.search(text)
    if place is None:
        return CelError("the expression does not compile")
    row, column, message = int(place[1]), int(place[2]), place[3]
    lines = expression.split("\n")
    before = sum(len(line) + 1 for line in lines[: row - 1])
    message = re.sub(r"( expecting) \{.*", "", message)
    return CelError(message.replace("<EOF>", "the end"), before + column - 1)


def _first_sentence(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"no field {error}"
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return text.split(". ")[0].split(" CEL does not")[0]
