"""A name in double quotes passes for no other, whatever dots and colons it has."""

import pytest


@pytest.mark.parametrize(
    ("sql", "objects"),
    [
        ('DROP TABLE "pg_temp.orders"', ["table:pg_temp%2Eorders"]),
        ('DROP TABLE shop."a:pg_temp.o"', ["table:shop.a%3Apg_temp%2Eo"]),
        ('DROP SCHEMA "a:pg_temp.o"', ["schema:a%3Apg_temp%2Eo"]),
        (
            'DROP TRIGGER "a:pg_temp.t" ON shop."o.x"',
            ["table:shop.o%2Ex", "trigger:a%3Apg_temp%2Et"],
        ),
        ('CREATE INDEX "i.x" ON shop.orders (id)', ["index:i%2Ex", "table:shop.orders"]),
        ('ALTER TABLE "a%2Eb" ADD x int', ["table:a%252Eb"]),
        ('DROP ROLE "first.last", "a:pg_temp.o"', ["role:first.last", "role:a%3Apg_temp.o"]),
        ("DROP TABLE pg_temp.orders", ["table:pg_temp.orders"]),
    ],
)
def test_objects_are_told_by_their_parts(shape_of, sql, objects):
    assert list(shape_of(sql).objects) == objects


def test_a_quoted_relation_is_none_of_that_schema(shape_of):
    assert list(shape_of('SELECT * FROM "hr.salaries"').reads) == ["hr%2Esalaries"]
    assert list(shape_of('TRUNCATE "pg_temp.orders"').writes) == ["pg_temp%2Eorders"]
