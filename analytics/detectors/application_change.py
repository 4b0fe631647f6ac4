"""Application change: a program begins to use statements, relations or columns that it never used.

What a service or an AI agent does is a baseline of its own. A release brings many new things
within minutes: they are told together, once nothing new has come for a while, with what the
program no longer does. Time is the agent's watermark, the latest start among its statements so far:
it never goes back, so an old row that arrives late counts at its arrival. Only when something was
used last is told by the statement's own start: one that waited for its audit record, while those
after it did not, would otherwise bring back what a release has dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics.alike import reduced
from analytics.detectors.new_shape import DULL_OPERATIONS, PROGRAMS
from analytics.findings import finding_id, literal, on_server
from analytics.frames import ALIKE, SCOPE, WHO, keep_latest, prepare, succeeded, top_level
from model.finding import Finding, FindingKind
from model.verdict import Severity

NAME = "application_change"
SUBJECT = (*SCOPE, "subject")
KEY = (*SUBJECT, "item")
STATE_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    **dict.fromkeys(KEY, pl.String),
    "kind": pl.String,
    "what": pl.String,
    "first_us": pl.Int64,
    "last_us": pl.Int64,
    "count": pl.Int64,
    "novel_us": pl.Int64,
    "statement_id": pl.UInt64,
}
"""A row a known (subject, item). ``item``: '' is the subject itself, ``kind`` its identity's kind;
else ``shape F``, ``relation R`` or ``column C``, and ``what`` says it to a person. ``novel_us``:
the watermark at which a learned subject met it, 0 once that was told. Rows without a subject have
the watermark of their agent as ``last_us``. ``first_us`` is a watermark too, and ``last_us`` the
latest start of a use (of one that came later than LATE_US, the watermark)."""
NOTHING_NOVEL = pl.DataFrame(schema=dict.fromkeys(KEY, pl.String) | {"novel_us": pl.Int64})
DULL_RELATION = r"^(pg_catalog\.|information_schema\.|pg_toast\.|pg_temp|pg_)"
SAID = 3
LISTED = 50
REGULAR_USES = 20
MISSED_INTERVALS = 12
LATE_US = 60_000_000
"""Longer than an agent keeps a statement that waits for its audit record; what is later yet has
another reason, such as a clock that was set."""


@dataclass(frozen=True)
class ApplicationChangeSettings:
    learn_seconds: float = 7 * 86_400
    learn_statements: int = 200
    settle_seconds: float = 600
    """Nothing new for so long: the change is over and told."""
    longest_seconds: float = 6 * 3600
    """A change that never settles is told at least this often."""
    max_keys: int = 500_000


@dataclass(frozen=True)
class ApplicationChange:
    settings: ApplicationChangeSettings = ApplicationChangeSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        return pl.DataFrame(schema=STATE_SCHEMA)

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        after, told = self.observe_rows(state, batch)
        return after, [finding for _, finding in told]

    def observe_rows(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[tuple[int, Finding]]]:
        """As ``observe``; each finding with the number of the row that ended the change."""
        rows = prepare(batch)
        if rows.is_empty():
            return state, []
        marks = _with_watermark(rows, _watermarks(state))
        spans = marks.group_by(ALIKE).agg(pl.col("mark").first(), pl.col("used_us").max())
        statements = (
            reduced(batch)
            .filter(_programs())
            .join(spans, on=ALIKE, how="left", maintain_order="left")
            .with_columns(subject="identity")
        )
        if statements.is_empty():
            return self._tell(state, marks, state, None)
        met = _met(statements)
        firsts = met.unique(KEY, keep="first", maintain_order=True)
        novel = self._novel(state, rows, marks, firsts)
        after = _advance(state, met, novel)
        return self._tell(after, marks, state, lambda: _met(_single(rows, marks)))

    def settle(self, state: pl.DataFrame, now_us: int) -> tuple[pl.DataFrame, list[Finding]]:
        """What is over by the clock, where no statement moves the watermark."""
        clock = _watermarks(state).select(
            "agent", row=pl.lit(0, pl.UInt32), mark=pl.max_horizontal("mark", pl.lit(now_us))
        )
        after, told = self._tell(state, clock, state, None)
        return (after, [finding for _, finding in told]) if told else (state, [])

    def _novel(
        self, state: pl.DataFrame, rows: pl.DataFrame, marks: pl.DataFrame, firsts: pl.DataFrame
    ) -> pl.DataFrame:
        """KEY and ``novel_us`` of what a learned subject met for the first time."""
        fresh = firsts.filter(pl.col("item") != "").join(
            state, on=KEY, how="anti", maintain_order="left"
        )
        if fresh.is_empty():
            return NOTHING_NOVEL
        known = state.filter((pl.col("item") == "") & (pl.col("subject") != "")).select(
            *SUBJECT, "first_us", known="count"
        )
        numbered = (
            marks.filter(rows.select(_programs()).to_series())
            .select(
                "row",
                nth=pl.int_range(pl.len()).over(WHO),
                met_us=pl.col("mark").first().over(WHO),
            )
            .join(fresh.select("row").unique(), on="row", how="semi")
        )
        learned = (pl.col("before") >= self.settings.learn_statements) & (
            pl.col("mark") - pl.col("since") >= int(self.settings.learn_seconds * 1e6)
        )
        return (
            fresh.join(numbered, on="row", how="left", maintain_order="left")
            .join(known, on=SUBJECT, how="left", maintain_order="left")
            .with_columns(
                before=pl.col("known").fill_null(0) + pl.col("nth"),
                since=pl.coalesce("first_us", "met_us"),
            )
            .filter(learned)
            .select(*KEY, novel_us="mark")
        )

    def _tell(
        self,
        state: pl.DataFrame,
        rows: pl.DataFrame,
        before: pl.DataFrame,
        met_by_row: Callable[[], pl.DataFrame] | None,
    ) -> tuple[pl.DataFrame, list[tuple[int, Finding]]]:
        """Findings of the changes that some row ended; what was told is known from then on."""
        marks = pl.concat([_watermarks(state), rows.select("agent", "mark")])
        marks = marks.group_by("agent").max()
        if not (state["novel_us"] > 0).any():
            return keep_latest(_with_marks(state, marks), self.settings.max_keys, KEY), []
        pending = self._episodes(state.filter(pl.col("novel_us") > 0))
        over = (
            pending.group_by(*SUBJECT, "episode", "block")
            .agg(begun=pl.col("novel_us").min(), last=pl.col("novel_us").max())
            .with_columns(over_us=self._over())
            .join(marks, on="agent")
            .filter(pl.col("over_us") <= pl.col("mark"))
            .drop("mark")
        )
        told = _with_row_of_end(over, rows)
        met = met_by_row() if told and met_by_row is not None else None
        findings = [(change["row"], self._finding(pending, before, met, change)) for change in told]
        done = pending.join(over, on=(*SUBJECT, "episode", "block"), how="semi").select(KEY)
        marked = _with_marks(state, marks)
        if done.is_empty():
            return keep_latest(marked, self.settings.max_keys, KEY), findings
        cleared = marked.join(
            done.with_columns(over=True), on=KEY, how="left", maintain_order="left"
        )
        cleared = cleared.with_columns(
            novel_us=pl.when("over").then(0).otherwise("novel_us")
        ).select(STATE_SCHEMA.keys())
        return keep_latest(cleared, self.settings.max_keys, KEY), findings

    def _episodes(self, pending: pl.DataFrame) -> pl.DataFrame:
        """``episode`` counts the pauses of a subject; ``block`` is the long stretch of time."""
        settle, longest = self._settle_us, int(self.settings.longest_seconds * 1e6)
        pause = pl.col("novel_us").diff().over(SUBJECT).fill_null(0) >= settle
        return pending.sort(*SUBJECT, "novel_us", "item").with_columns(
            episode=pause.cast(pl.Int64).cum_sum().over(SUBJECT),
            block=pl.col("novel_us") // longest,
        )

    def _over(self) -> pl.Expr:
        longest = int(self.settings.longest_seconds * 1e6)
        return pl.min_horizontal(pl.col("last") + self._settle_us, (pl.col("block") + 1) * longest)

    @property
    def _settle_us(self) -> int:
        return int(self.settings.settle_seconds * 1e6)

    def _finding(
        self,
        pending: pl.DataFrame,
        before: pl.DataFrame,
        met: pl.DataFrame | None,
        change: dict[str, Any],
    ) -> Finding:
        new = _of_subject(pending, change).filter(
            (pl.col("episode") == change["episode"]) & (pl.col("block") == change["block"])
        )
        mine = _of_subject(before, change)
        if met is not None:
            until = _of_subject(met, change).filter(pl.col("row") < change["row"])
            mine = _advance(mine, until, NOTHING_NOVEL)
        kind = str(mine.filter(pl.col("item") == "")["kind"][0])
        return _finding(change, kind, new, _dropped(mine, change))


def _watermarks(state: pl.DataFrame) -> pl.DataFrame:
    """``agent`` and ``mark``."""
    return state.filter(pl.col("subject") == "").select("agent", mark="last_us")


def _programs() -> pl.Expr:
    return succeeded() & pl.col("identity_kind").is_in(PROGRAMS)


def _with_watermark(rows: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    narrow = rows.select("agent", "row", ALIKE, WHO, "at_us")
    agents = rows["agent"].unique()
    if len(agents) == 1:
        [known, *_] = [*before.filter(pl.col("agent") == agents[0])["mark"], None]
        latest = pl.max_horizontal(pl.col("at_us").cum_max(), pl.lit(known, pl.Int64))
        return narrow.with_columns(mark=latest).with_columns(_USED)
    latest = pl.col("at_us").cum_max().over("agent")
    marked = narrow.join(before, on="agent", how="left", maintain_order="left")
    return marked.with_columns(mark=pl.max_horizontal(latest, "mark")).with_columns(_USED)


_USED = (
    pl.when(pl.col("mark") - pl.col("at_us") <= LATE_US)
    .then("at_us")
    .otherwise("mark")
    .alias("used_us")
)


def _single(rows: pl.DataFrame, marks: pl.DataFrame) -> pl.DataFrame:
    """Each statement of a program, with its ``mark``."""
    single = rows.with_columns(marks["mark"], marks["used_us"], times=pl.lit(1, pl.UInt32))
    return single.filter(_programs()).with_columns(subject="identity")


def _met(statements: pl.DataFrame) -> pl.DataFrame:
    """KEY, ``kind``, ``what`` and _MEETING of each meeting, rows in order."""
    base = (*SUBJECT, *_MEETING)
    shapes = statements.filter(
        top_level() & (pl.col("fingerprint") != "") & ~pl.col("operation").is_in(DULL_OPERATIONS)
    ).select(*base, kind=pl.lit("shape"), name="fingerprint", what="summary")
    touched = statements.select(*base, name=pl.concat_list("reads", "writes"))
    relations = _named(touched, "relation").filter(~pl.col("name").str.contains(DULL_RELATION))
    columns = _named(statements.select(*base, name="columns_used"), "column")
    subjects = statements.select(
        *base, kind="identity_kind", name=pl.lit(""), what=pl.lit(""), item=pl.lit("")
    )
    items = pl.concat([shapes, relations, columns]).with_columns(
        item=pl.concat_str("kind", pl.lit(" "), "name")
    )
    return pl.concat([subjects, items]).sort("row", maintain_order=True)


_MEETING = ("row", "mark", "used_us", "times", "id")


def _named(rows: pl.DataFrame, kind: str) -> pl.DataFrame:
    named = rows.explode("name", empty_as_null=True).filter(pl.col("name").fill_null("") != "")
    return named.select(*SUBJECT, *_MEETING, kind=pl.lit(kind), name="name", what="name")


def _advance(state: pl.DataFrame, met: pl.DataFrame, novel: pl.DataFrame) -> pl.DataFrame:
    seen = met.group_by(KEY, maintain_order=True).agg(
        pl.col("kind").first(),
        pl.col("what").first(),
        first_us=pl.col("mark").first(),
        last_us=pl.col("used_us").max(),
        count=pl.col("times").sum().cast(pl.Int64),
        statement_id=pl.col("id").first(),
    )
    updated = state.join(
        seen.select(*KEY, "last_us", "count"),
        on=KEY,
        how="left",
        maintain_order="left",
        suffix="_new",
    ).with_columns(
        last_us=pl.max_horizontal("last_us", "last_us_new"),
        count=pl.col("count") + pl.col("count_new").fill_null(0),
    )
    fresh = (
        seen.join(state, on=KEY, how="anti", maintain_order="left")
        .join(novel, on=KEY, how="left", maintain_order="left")
        .with_columns(pl.col("novel_us").fill_null(0))
    )
    names = list(STATE_SCHEMA)
    return pl.concat([updated.select(names), fresh.select(names)])


def _with_marks(state: pl.DataFrame, marks: pl.DataFrame) -> pl.DataFrame:
    values = {name: pl.lit("" if kind == pl.String else 0) for name, kind in STATE_SCHEMA.items()}
    rows = marks.sort("agent").select(
        **(values | {"agent": pl.col("agent"), "last_us": pl.col("mark")})
    )
    typed = rows.select(pl.col(name).cast(kind) for name, kind in STATE_SCHEMA.items())
    return pl.concat([state.filter(pl.col("subject") != ""), typed])


def _with_row_of_end(over: pl.DataFrame, rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Each change with the first ``row`` whose watermark ended it, in that order."""
    if over.is_empty():
        return []
    ends = over.sort("over_us").join_asof(
        rows.unique(("agent", "mark"), keep="first", maintain_order=True).sort("mark"),
        left_on="over_us",
        right_on="mark",
        by="agent",
        strategy="forward",
        check_sortedness=False,
    )
    return ends.sort("row", *SUBJECT).to_dicts()


def _of_subject(frame: pl.DataFrame, change: dict[str, Any]) -> pl.DataFrame:
    return frame.filter(pl.all_horizontal(pl.col(name) == change[name] for name in SUBJECT))


def _dropped(mine: pl.DataFrame, change: dict[str, Any]) -> pl.DataFrame:
    """Shapes and relations in regular use until the change, and missing ever since for much longer
    than their pauses were. ``mine``: the subject's state at the row that ended the change.
    """
    pause = (pl.col("last_us") - pl.col("first_us")) / pl.col("count")
    return mine.filter(
        pl.col("kind").is_in(("shape", "relation"))
        & (pl.col("count") >= REGULAR_USES)
        & (pl.col("last_us") < change["begun"])
        & (change["over_us"] - pl.col("last_us") > pause * MISSED_INTERVALS)
    )


def _finding(
    change: dict[str, Any], kind: str, new: pl.DataFrame, dropped: pl.DataFrame
) -> Finding:
    who = change["subject"]
    found = {name: _texts(new, name) for name in ("shape", "relation", "column")}
    counts = ", ".join(
        f"{len(found[name])} new {word if len(found[name]) == 1 else word + 's'}"
        for name, word in (("shape", "shape"), ("relation", "table"), ("column", "column"))
    )
    gone = [*_texts(dropped, "shape"), *_texts(dropped, "relation")]
    said = [*found["relation"], *found["shape"]][:SAID]
    about = f": {', '.join(said)}" if said else ""
    first = new.sort("novel_us", "item").row(0, named=True)
    shapes = [item.partition(" ")[2] for item in new.filter(kind="shape").sort("item")["item"]]
    return Finding(
        id=finding_id(
            change["begun"], NAME, *(change[name] for name in SUBJECT), str(change["begun"])
        ),
        kind=FindingKind.DRIFT,
        detector=NAME,
        severity=Severity.LOW,
        title=f"{who} changed",
        sentence=f"{who} changed: {counts}, {len(gone)} dropped{about}",
        at_us=change["begun"],
        agent=change["agent"],
        cluster=change["cluster"],
        database=change["database"],
        identity=who,
        object=who,
        score=float(new.height),
        evidence_sql=(
            "SELECT started_at, user_name, application_name, client_address, text FROM statements "
            f"WHERE {on_server(change)} "
            f"AND coalesce(nullif(identity_name, ''), user_name) = {literal(who)} "
            f"AND database = {literal(change['database'])} "
            f"AND epoch_us(started_at) >= {change['begun'] - 1_000_000} "
            + (
                f"AND fingerprint IN ({', '.join(map(literal, shapes[:LISTED]))}) "
                if shapes
                else ""
            )
            + "ORDER BY started_at LIMIT 100"
        ),
        statement_id=first["statement_id"],
        details=(
            ("identity_kind", kind),
            *((f"new_{name}s", "\n".join(texts[:LISTED])) for name, texts in found.items()),
            ("dropped", "\n".join(gone[:LISTED])),
        ),
    )


def _texts(items: pl.DataFrame, kind: str) -> list[str]:
    chosen = items.filter(pl.col("kind") == kind).sort("item")
    return [what or item.partition(" ")[2] for what, item in chosen.select("what", "item").rows()]
