"""What somebody makes is theirs: to read, fill and drop it afterwards is no first time.

Nobody can have known it before, so that no peer has; a scratch table of one's own would look as
strange as the table of salaries. That somebody makes things at all is an act (``analytics.acts``).
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analytics.frames import ANY_ROWS

_NONE = pl.DataFrame(schema={"row": pl.get_index_type(), "made": pl.String})


def relations(statements: pl.DataFrame) -> pl.DataFrame:
    """``row`` and ``made``: each relation that a CREATE TABLE AS of it made.

    Only where it wrote rows: with IF NOT EXISTS it writes none into what others made before, which
    would else be a way to have met the table of salaries. CREATE TABLE alone has no rows to tell.
    """
    making = pl.col(ANY_ROWS) & (pl.col("operation") == "create")
    some = statements.filter(making & (pl.col("writes").list.len() > 0))
    if some.is_empty():
        return _NONE
    return some.select("row", made="writes").explode("made", empty_as_null=True).drop_nulls()


def with_items(items: pl.DataFrame, made: pl.DataFrame, verbs: Sequence[str]) -> pl.DataFrame:
    """``items``, and those of what was made. Whoever makes something has met it in every way."""
    if made.is_empty():
        return items
    return pl.concat([items, _items(made, verbs)]).unique().sort("row", "item")


def _items(made: pl.DataFrame, verbs: Sequence[str]) -> pl.DataFrame:
    """``row`` and ``item`` (verb and name) of all that whoever made it may do with it."""
    return pl.concat(made.select("row", item=pl.concat_str(pl.lit(verb), "made")) for verb in verbs)


def not_made(made: pl.DataFrame, verbs: Sequence[str]) -> pl.Expr:
    """Of rows with ``row`` and ``item``: whether it is none of ``with_items``."""
    if made.is_empty():
        return pl.lit(value=True)
    own = _items(made, verbs).select(_PAIR).to_series().implode()
    return ~_PAIR.is_in(own)


_PAIR = pl.concat_str("row", pl.lit(" "), "item")
