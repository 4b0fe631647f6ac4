"""YAML read with its places: what is expected where, and a Problem for whatever is not.

Only the plain part of YAML: aliases are refused (a small file can unfold into gigabytes), tags
are ignored, and nesting is bounded, so that a damaged or hostile file ends as a Problem.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import yaml
from yaml.composer import Composer

from rules.language.places import Place, place_of
from rules.language.problems import Problem

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 12
Choice = TypeVar("Choice", bound=StrEnum)
Scalar = str | int | float | bool


class _Plain:
    """Composes nodes without aliases and without deep nesting."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[attr-defined] # the parser's
        if isinstance(event, yaml.AliasEvent):
            raise _refusal("aliases are not allowed", event)
        if self.depth >= MAX_DEPTH:
            raise _refusal("nested too deeply", event)
        self.depth += 1
        try:
            return super().compose_node(parent, index)  # type: ignore[misc,no-any-return] # its too
        finally:
            self.depth -= 1


class _PlainLoader(_Plain, yaml.SafeLoader):
    pass


class _PlainFastLoader(_Plain, Composer, yaml.CSafeLoader):
    """Of what libyaml parses: in Python that alone was a tenth of an agent's start."""

    def __init__(self, text: str) -> None:
        yaml.CSafeLoader.__init__(self, text)
        Composer.__init__(self)


def _compose(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_PlainFastLoader)
    except (yaml.YAMLError, ValueError, OverflowError):
        return yaml.compose(text, Loader=_PlainLoader)  # it says better what is wrong, and where


class Document:
    """One file: its nodes, and the problems found so far."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self._source = ""
        self._texts: dict[tuple[int, str], yaml.ScalarNode] = {}
        """By line, from 1, and value."""

    def read(self) -> yaml.Node | None:
        """The root node, or None where there is none (then ``problems`` says why)."""
        try:
            data = Path(self.path).read_bytes()
        except OSError as error:
            self.problems.append(Problem(self.path, 0, 0, error.strerror or "cannot be read"))
            return None
        return self.parse(data)

    def parse(self, data: bytes) -> yaml.Node | None:
        if len(data) > MAX_FILE_BYTES:
            self.problems.append(Problem(self.path, 0, 0, f"more than {MAX_FILE_BYTES} bytes"))
            return None
        try:
            self._source = data.decode("utf-8")
            root = _compose(self._source)
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            self.problems.append(Problem(self.path, line, 0, "not UTF-8"))
            return None
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            self.problems.append(Problem(self.path, line, column, f"not YAML: {error.problem}"))
            return None
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            # The last two: an escape like "\UFFFFFFFF", which PyYAML hands to chr() unchecked.
            self.problems.append(Problem(self.path, 0, 0, f"not YAML: {_first_line(error)}"))
            return None
        if root is None:
            self.problems.append(Problem(self.path, 1, 0, "the file is empty"))
        return root

    def problem(self, node: yaml.Node, message: str) -> None:
        mark = node.start_mark
        self.problems.append(Problem(self.path, mark.line + 1, mark.column + 1, message))

    def mapping(
        self, node: yaml.Node, what: str, known: Collection[str] | None = None
    ) -> dict[str, yaml.Node]:
        """Keys to value nodes; unknown and repeated keys become problems. ``known`` None: any."""
        if not isinstance(node, yaml.MappingNode):
            self.problem(node, f"{what} must be a mapping")
            return {}
        values: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
            if known is not None and key not in known:
                self.problem(key_node, _unknown(f"unknown field {key!r} in {what}", key, known))
            elif key in values:
                self.problem(key_node, f"{key!r} is given twice in {what}")
            else:
                values[key] = value
        return values

    def sequence(self, node: yaml.Node, what: str) -> Iterator[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            yield from node.value
        else:
            self.problem(node, f"{what} must be a list")

    def text(self, node: yaml.Node | None, what: str) -> str:
        """Any scalar as it is written; empty where it is missing or no text."""
        if node is None:
            return ""
        if not isinstance(node, yaml.ScalarNode):
            self.problem(node, f"{what} must be text")
            return ""
        value = str(node.value)
        if any("\ud800" <= character <= "\udfff" for character in value):
            self.problem(node, f"{what} holds half of a surrogate pair")
            return ""
        self._texts[node.start_mark.line + 1, value] = node
        return value

    def place(self, line: int, text: str, offset: int) -> Place | None:
        """Where character ``offset`` of the text that begins in this line stands in the file."""
        node = self._texts.get((line, text))
        return place_of(self._source, node, offset) if node is not None else None

    def texts(self, node: yaml.Node | None, what: str) -> tuple[str, ...]:
        if node is None:
            return ()
        return tuple(self.text(each, f"each of {what}") for each in self.sequence(node, what))

    def choice(
        self, node: yaml.Node | None, kind: type[Choice], what: str, default: Choice
    ) -> Choice:
        if node is None:
            return default
        text = self.text(node, what)
        if text in [each.value for each in kind]:
            return kind(text)
        self.problem(node, _unknown(f"{what} {text!r} is unknown", text, [e.value for e in kind]))
        return default

    def scalar(self, node: yaml.Node, what: str) -> Scalar:
        """Text, number or boolean, by YAML's rules."""
        text = self.text(node, what)
        try:
            match node.tag.rpartition(":")[2]:
                case "bool":
                    return text.lower() in ("true", "yes", "on")
                case "int":
                    return int(text.replace("_", ""), 0)
                case "float":
                    return float(text.replace("_", ""))
        except ValueError:
            self.problem(node, f"{what}: write the number {text!r} in decimal")
        return text


def _refusal(message: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=message, problem_mark=event.start_mark)  # type: ignore[arg-type] # the C parser's mark is as good


def _unknown(message: str, word: str, known: Collection[str]) -> str:
    close = get_close_matches(word, list(known), n=1)
    if close:
        return f"{message}; did you mean {close[0]!r}?"
    return f"{message}; known: {', '.join(known)}"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
