"""What libyaml makes of a file of rules is what PyYAML's own parser makes of it."""

import pytest
import yaml

from rules import DEFAULT_PACKS
from rules.language.document import Document, _compose, _PlainFastLoader, _PlainLoader
from tests.guard.policy import FILE

FILES = [*sorted(DEFAULT_PACKS.glob("*.yaml")), FILE]


def tree(node):
    at = node.start_mark.line, node.start_mark.column
    if isinstance(node, yaml.ScalarNode):
        return node.tag, at, node.value
    if isinstance(node, yaml.MappingNode):
        return node.tag, at, [(tree(key), tree(value)) for key, value in node.value]
    return node.tag, at, [tree(each) for each in node.value]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_both_parsers_see_the_same_values_at_the_same_places(file):
    text = file.read_text()
    fast, own = (yaml.compose(text, Loader=each) for each in (_PlainFastLoader, _PlainLoader))
    assert tree(fast) == tree(own)
    assert tree(_compose(text)) == tree(own)


@pytest.mark.parametrize(
    "text", ["- id: [", "a: &x 1\nb: *x", "[" * 20 + "]" * 20, "a: b: c", '"\\UFFFFFFFF"', "\x07"]
)
def test_what_is_wrong_is_said_in_the_words_of_pyyaml(text):
    with pytest.raises((yaml.YAMLError, ValueError, OverflowError)) as own:
        yaml.compose(text, Loader=_PlainLoader)
    with pytest.raises((yaml.YAMLError, ValueError, OverflowError)) as said:
        _compose(text)
    assert str(said.value) == str(own.value)
    document = Document("own.yaml")
    assert document.parse(text.encode()) is None
    assert document.problems
