from hypothesis import given
from hypothesis import strategies as st

from model.names import escaped, unescaped

PART = st.text(alphabet=st.sampled_from('.:%"23AE5 abé'), min_size=1, max_size=12)


@given(PART)
def test_a_part_comes_back_and_parts_nothing(part: str) -> None:
    written = escaped(part)
    assert "." not in written
    assert ":" not in written
    assert unescaped(written) == part


@given(st.lists(PART, min_size=1, max_size=3), st.lists(PART, min_size=1, max_size=3))
def test_two_names_are_never_written_alike(one: list[str], other: list[str]) -> None:
    joined = [".".join(map(escaped, parts)) for parts in (one, other)]
    assert (joined[0] == joined[1]) == (one == other)
