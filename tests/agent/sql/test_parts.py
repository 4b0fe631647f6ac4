"""Each statement of a string by itself."""

from dataclasses import fields

import pytest

from agent.sql.answers import part_at
from agent.sql.facts import MAX_PARTS, SETS, Facts
from agent.sql.shape import Part
from model.statement import NOT_JUDGED, ParseStatus, Shape


def _parts(shape):
    return [(part.verbs, part.objects, part.writes) for part in shape.parts]


def test_each_statement_of_a_string_has_its_own_facts(shape_of):
    shape = shape_of("DROP OWNED BY clerk CASCADE; DROP ROLE IF EXISTS nobody")
    owned, role = shape.parts
    assert (owned.objects, owned.roles, owned.flags) == ((), ("clerk",), ("multi", "cascade"))
    assert (role.objects, role.roles, role.flags) == (("role:nobody",), ("nobody",), ("multi",))
    assert shape.flags == ("multi", "cascade")
    assert (owned.summary, role.summary) == ("DROP", "DROP ROLE nobody")


def test_a_statement_alone_has_no_parts(shape_of):
    for sql in (
        "SELECT 1;",
        ";; DROP TABLE t ;;",
        "DO $$ BEGIN DELETE FROM a; DELETE FROM b; END $$",
    ):
        shape = shape_of(sql)
        assert (shape.parts, shape.starts) == ((), ())


def test_what_gathers_rows_in_one_statement_makes_no_other_one_a_bulk_read(shape_of):
    shape = shape_of("SELECT json_agg(a) FROM t WHERE id = 1; SELECT b FROM u WHERE id > 0")
    assert "unfiltered" not in shape.flags
    assert all("unfiltered" not in part.flags for part in shape.parts)


def test_what_a_statement_has_its_parts_have():
    """What is put together is what rules see, and a part has all of it."""
    names = {each.name for each in fields(Facts) if each.type == "Names"}
    assert names == set(SETS)
    told = {each.name for each in fields(Part)}
    assert told == {each.name for each in fields(Shape)} - NOT_JUDGED - {"parts"}


def test_statements_beyond_the_bound_are_one_that_is_not_understood(shape_of):
    shape = shape_of("DROP ROLE a; " * MAX_PARTS + "DROP OWNED BY clerk; SELECT 1")
    *known, together, rest = shape.parts
    assert len(known) == MAX_PARTS
    assert all(part.objects == ("role:a",) for part in known)
    assert (together.verbs, together.roles) == (("drop", "select"), ("clerk",))
    assert rest.status is ParseStatus.TOO_LONG
    assert rest.flags == ()
    harmless = shape_of("SELECT 1; " * (MAX_PARTS + 2)).parts[-1]
    assert harmless.flags == ("harmless",)


FORMS = (
    "DELETE FROM s WHERE a = {0} ; INSERT INTO t VALUES ({1});;  /* {0} */ SELECT {1}",
    "SELECT {0};INSERT INTO t VALUES ({1}) ; -- x\n SELECT 2",
    "  SELECT 1, {0} ;;; UPDATE t SET a = {1} WHERE b = 2 ; SELECT 3",
)


@pytest.mark.parametrize("form", FORMS)
def test_a_place_in_the_text_tells_the_statement_also_where_other_literals_stand(shape_of, form):
    """``shape_of`` has parsed one text; the others follow from it."""
    for literals in (("1", "2"), ("'a;b'", "22"), ("'; ;'", "'longer than before;'")):
        text = form.format(*literals).encode()
        shape = shape_of(text.decode())
        places = [text.index(b"INSERT" if b"INSERT" in text else b"UPDATE"), text.rindex(b"SELECT")]
        assert [part_at(shape, text, place) for place in (0, *places)] == [0, 1, 2]
        before = text[: places[0]].rindex(b";") + 1
        assert part_at(shape, text, before) == 1, "where servers before 18 have it begin"


def test_a_place_that_nobody_can_trust_tells_nothing(shape_of):
    text = "SELECT 1; SELECT 2"
    shape = shape_of(text)
    assert part_at(shape, text.encode(), -1) is None
    assert part_at(shape, text.encode(), len(text)) is None
    assert part_at(shape_of("SELECT 1"), b"SELECT 1", 0) is None


def test_a_text_in_another_encoding_has_no_places(parser):
    text = "SELECT 'é'; SELECT 2".encode("latin-1")
    (shape,) = parser.shapes([text], [len(text)])
    assert len(shape.parts) == 2
    assert part_at(shape, text, 12) is None
