"""What a statement is, by where it came from: not every text is one of the SQL grammar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from agent.sql.expression import as_query
from agent.sql.fastpath import shape_of_call
from model.event import Protocol as Wire
from model.event import StatementStarted
from model.statement import ParseStatus, Shape


class Parser(Protocol):
    def shapes(self, texts: Sequence[bytes], full_lengths: Sequence[int]) -> list[Shape]: ...
    def known(self, text: bytes, full_length: int) -> Shape | None: ...
    def ask_ahead(self, text: bytes) -> bool: ...
    def answer_soon(self, text: bytes, patience_seconds: float) -> Shape | None: ...
    def keep(self) -> None: ...


def read(parser: Parser, text: bytes, full_length: int, wire: Wire, *, nested: bool) -> Shape:
    if wire is Wire.FASTPATH:
        return shape_of_call(text)
    (shape,) = parser.shapes([text], [full_length])
    if not _may_be_expression(shape, nested):
        return shape
    query = as_query(text)
    (other,) = parser.shapes([query], [len(query)])
    return other if other.status is ParseStatus.PARSED else shape


def recall(
    parser: Parser, text: bytes, full_length: int, wire: Wire, *, nested: bool
) -> Shape | None:
    """The same, if the parser need not be asked; never waits."""
    if wire is Wire.FASTPATH:
        return shape_of_call(text)
    shape = parser.known(text, full_length)
    if shape is None or not _may_be_expression(shape, nested):
        return shape
    query = as_query(text)
    other = parser.known(query, len(query))
    if other is None:
        return None
    return other if other.status is ParseStatus.PARSED else shape


def read_soon(
    parser: Parser,
    event: StatementStarted,
    meanwhile: Callable[[], None],
    patience_seconds: float,
) -> Shape | None:
    """The same, if the parser tells within that time; ``meanwhile`` is done while it works, and not
    at all where it need not be asked."""
    text, nested = event.text, event.nested
    shape = recall(parser, text, event.text_bytes, event.protocol, nested=nested)
    if shape is not None or (nested and parser.known(text, event.text_bytes) is not None):
        return shape
    if not parser.ask_ahead(text):
        return None
    meanwhile()
    shape = parser.answer_soon(text, patience_seconds)
    return None if shape is None or _may_be_expression(shape, nested) else shape


def _may_be_expression(shape: Shape, nested: bool) -> bool:
    return nested and shape.status is ParseStatus.INVALID
