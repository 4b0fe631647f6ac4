"""One parser for all tests of its folder."""

from collections.abc import Callable, Iterator

import pytest

from agent.sql.client import ParserClient
from model.statement import Shape


@pytest.fixture(scope="package")
def parser() -> Iterator[ParserClient]:
    with ParserClient() as client:
        yield client


@pytest.fixture
def shape_of(parser: ParserClient) -> Callable[[str | bytes], Shape]:
    def shape(text: str | bytes) -> Shape:
        data = text.encode() if isinstance(text, str) else text
        return parser.shapes([data], [len(data)])[0]

    return shape
