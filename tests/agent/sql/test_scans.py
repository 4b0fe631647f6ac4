"""Commands that go through a table's rows without a query name it among what they read."""

import pytest


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX ON hr.salaries (attack.leak(secret))",
        "CREATE INDEX x ON hr.salaries ((secret::int))",
        "CREATE UNIQUE INDEX CONCURRENTLY x ON ONLY hr.salaries USING btree (secret attack.ops)",
        "CREATE INDEX x ON hr.salaries (id) WHERE attack.leak(secret) IS NULL",
        "CREATE INDEX x ON hr.salaries (id) INCLUDE (secret)",
        "CREATE STATISTICS s ON id, (attack.leak(secret)) FROM hr.salaries",
        "ALTER TABLE hr.salaries ADD CHECK (attack.leak(secret) IS NULL)",
        "ALTER TABLE hr.salaries ADD CONSTRAINT c UNIQUE (secret)",
        "ALTER TABLE hr.salaries ADD EXCLUDE USING gist (secret WITH =)",
        "ALTER TABLE hr.salaries ADD FOREIGN KEY (secret) REFERENCES attack.guesses (secret)",
        "ALTER TABLE attack.t ADD FOREIGN KEY (secret) REFERENCES hr.salaries (secret)",
        "ALTER TABLE hr.salaries VALIDATE CONSTRAINT c",
        "ALTER TABLE hr.salaries ALTER secret SET NOT NULL",
        "ALTER TABLE hr.salaries ALTER secret TYPE int USING attack.leak(secret)",
        "ALTER TABLE hr.salaries ALTER secret TYPE int",
        "ALTER TABLE hr.salaries ADD x text GENERATED ALWAYS AS (attack.leak(secret)) STORED",
        "ALTER TABLE hr.salaries ADD x text CHECK (attack.leak(secret) IS NULL)",
        "ALTER TABLE hr.salaries ADD x int DEFAULT attack.next()",
        "ALTER TABLE hr.salaries ALTER x SET EXPRESSION AS (attack.leak(secret))",
        "ALTER TABLE hr.salaries SET UNLOGGED",
        "ALTER TABLE attack.t ATTACH PARTITION hr.salaries FOR VALUES IN (1)",
        "REINDEX TABLE hr.salaries",
        "CLUSTER hr.salaries USING i",
        "VACUUM (FULL) hr.salaries",
        "VACUUM ANALYZE hr.salaries",
        "ANALYZE hr.salaries (secret)",
        "CREATE MATERIALIZED VIEW v AS SELECT secret FROM hr.salaries",
        "DO $$ BEGIN CREATE INDEX ON hr.salaries (attack.leak(secret)); END $$",
    ],
)
def test_what_goes_through_the_rows_reads_the_table(shape_of, sql):
    shape = shape_of(sql)
    assert "hr.salaries" in shape.reads
    assert "unfiltered" not in shape.flags or "select" in shape.verbs


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE hr.salaries ADD CHECK (pay > 0) NOT VALID",
        "ALTER TABLE hr.salaries ADD PRIMARY KEY USING INDEX i",
        "ALTER TABLE hr.salaries ADD COLUMN note text",
        "ALTER TABLE hr.salaries ADD COLUMN paid bool NOT NULL DEFAULT false",
        "ALTER TABLE hr.salaries ADD COLUMN at timestamptz DEFAULT now()",
        "ALTER TABLE hr.salaries ADD COLUMN at timestamptz DEFAULT CURRENT_TIMESTAMP",
        "ALTER TABLE hr.salaries ALTER pay SET DEFAULT 0",
        "ALTER TABLE hr.salaries ALTER pay DROP NOT NULL",
        "ALTER TABLE hr.salaries SET (fillfactor = 80)",
        "ALTER TABLE hr.reviews DETACH PARTITION hr.salaries",
        "CREATE STATISTICS s ON id, name FROM hr.salaries",
        "VACUUM hr.salaries",
        "VACUUM (FULL false, ANALYZE off) hr.salaries",
        "COMMENT ON TABLE hr.salaries IS 'payroll'",
    ],
)
def test_what_leaves_the_rows_alone_does_not(shape_of, sql):
    assert shape_of(sql).reads == ()


def test_an_index_names_its_columns_and_the_functions_that_it_calls(shape_of):
    shape = shape_of(
        "CREATE INDEX x ON hr.salaries (a, attack.leak(secret)) INCLUDE (b) WHERE attack.f(c)"
    )
    assert set(shape.columns) == {"a", "b", "c", "secret"}
    assert shape.functions == ("attack.leak", "attack.f")
    assert shape.objects == ("index:x", "table:hr.salaries")


def test_a_constraint_names_its_columns(shape_of):
    sql = "ALTER TABLE t ADD UNIQUE (a) INCLUDE (b), ADD EXCLUDE USING gist (c WITH =)"
    assert set(shape_of(sql).columns) == {"a", "b", "c"}


def test_of_an_index_that_is_built_anew_only_its_own_name_is_known(shape_of):
    shape = shape_of("REINDEX INDEX hr.salaries_pay; REINDEX SCHEMA hr")
    assert shape.objects == ("index:hr.salaries_pay", "schema:hr")
    assert shape.reads == ()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER note TYPE int USING 0",
        "ALTER note TYPE text USING 'note'",
        "ALTER COLUMN note SET DATA TYPE text USING other",
        "ALTER note TYPE text USING note()",
        "ADD COLUMN a int, ALTER note TYPE int USING id",
        "ALTER note SET EXPRESSION AS (id)",
        "ALTER note TYPE text USING left(note, 0)",
        "ALTER note TYPE text USING CASE WHEN false THEN note END",
        "ALTER note TYPE text USING nullif(note, note)",
        "ALTER note TYPE text USING note || ''",
        "ALTER note TYPE int USING coalesce(nullif(trim(note), ''), '0')::int",
        "ALTER note TYPE varchar(1) USING note::varchar(1)",
        "ALTER note TYPE text USING note::varchar(1)",
        "ALTER note TYPE text USING note::varchar(1)::text",
        "ALTER note TYPE text USING note::char",
        "ALTER note TYPE bit(1) USING note::bit(1)",
        "ALTER note TYPE bool USING note::bool",
        "ALTER note TYPE text USING note::bool::text",
        "ALTER note TYPE int USING note::date::int",
        "ALTER note TYPE int USING (other).note::int",
        "ALTER note TYPE int USING (orders).note::int",
        "ALTER orders TYPE text USING orders.*::text",
        "ALTER note TYPE timestamptz USING note AT TIME ZONE NULL",
        "ALTER note TYPE timestamptz USING timezone('UTC', note)",
        "ALTER note TYPE timestamptz USING other AT TIME ZONE 'UTC'",
        'ALTER note TYPE "char"',
        'ALTER note TYPE pg_catalog."char" USING note::text',
        "ALTER note TYPE name",
        "ALTER note TYPE numeric(3, -30)",
        "ALTER note TYPE numeric USING note::numeric(3, -30)",
    ],
)
def test_a_column_whose_values_are_replaced_by_others_is_overwritten(shape_of, change):
    assert "overwrite" in shape_of(f"ALTER TABLE shop.orders {change}").flags


@pytest.mark.parametrize(
    "change",
    [
        "ALTER note TYPE int USING note::int",
        "ALTER note TYPE int USING orders.note::int",
        "ALTER note TYPE int USING CAST(shop.orders.note AS pg_catalog.int4)",
        "ALTER note TYPE hr.status USING note::text::hr.status",
        "ALTER note TYPE text[] USING note::text[]",
        "ALTER note TYPE varchar(9) USING note::text",
        "ALTER note TYPE varchar(9) USING note::varchar",
        "ALTER note TYPE varchar(9)",
        "ALTER note TYPE numeric(9, 2) USING note::numeric(9, 2)",
        "ALTER note TYPE date USING note::date",
        "ALTER note TYPE timestamp(3) USING note::timestamp(3)",
        "ALTER note TYPE timestamptz USING note AT TIME ZONE 'UTC'",
        "ALTER note TYPE text USING note",
        'ALTER "Note" TYPE int USING "Note"::int',
        "ALTER note TYPE text",
        "ALTER note SET DEFAULT 0",
    ],
)
def test_a_column_that_is_converted_is_not(shape_of, change):
    assert "overwrite" not in shape_of(f"ALTER TABLE shop.orders {change}").flags
