"""First act: an identity does something else than read and write rows, which it never did before.

DDL, rights, guarded settings, the server's files, a look at the catalog (``analytics.acts``), work
in another database, and relations that it was refused. A release of a program brings new relations
and shapes, and explains none of these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics import acts, alike, candidates, made, novelty
from analytics.candidates import shortened
from analytics.findings import finding_id, literal, on_server
from analytics.frames import SCOPE, succeeded
from analytics.novelty import NoveltySettings
from model.finding import Finding, FindingKind
from model.verdict import Severity

NAME = "first_act"
REFUSED, DATABASE = "refused", "database"
NO_RIGHT = "42501"
OF_A_PLACE = r"^(refused|object) "
"""Acts on one relation. All others are habits of a person, who has them on every server."""
OF_THE_MAKER = ("object table:", "object view:", "object materialized view:")
USUAL = rf"^({REFUSED}|{DATABASE}|write) "
"""What work brings along: a wrong door, a new place, a first change. Somebody who is refused now
and then has no more reason to take another role than anybody else: both have their own days."""


@dataclass(frozen=True)
class FirstActSettings(NoveltySettings):
    pass


@dataclass(frozen=True)
class FirstAct:
    """Score: -log10 of the chance of a day with an act as rare among peers, of this identity."""

    settings: FirstActSettings = FirstActSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        return novelty.empty_state()

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        wanted = (succeeded() | _refused()) & (pl.col("identity") != "")
        dated = alike.dated(batch, wanted, state, int(self.settings.day_seconds * 1e6))
        placed = pl.col("item").str.contains(OF_A_PLACE) | pl.col("item").str.starts_with(
            novelty.DATABASE
        )
        state, told = novelty.first_times(
            state,
            dated,
            _acts,
            made.not_made(made.relations(dated.alike), OF_THE_MAKER),
            self.settings,
            apart=~pl.col("item").str.contains(USUAL),
            habits=~placed,
        )
        return state, [_finding(row) for row in told]


def _refused() -> pl.Expr:
    """A relation that exists and is not for this identity: somebody tried."""
    return pl.col("sqlstate") == NO_RIGHT


def _acts(statements: pl.DataFrame) -> pl.DataFrame:
    """``row`` and ``item`` (``ddl drop table``, ``refused hr.salaries``), in order of rows."""
    refused = (
        statements.filter(_refused())
        .select("row", name=pl.concat_list("reads", "writes"))
        .explode("name", empty_as_null=True)
        .drop_nulls("name")
        .select("row", item=pl.concat_str(pl.lit(f"{REFUSED} "), "name"))
    )
    done = acts.items(statements.filter(~_refused()))
    # A release of a program brings inserts and updates as it brings relations.
    released = statements.filter(pl.col("identity_kind") == "service").select("row")
    writes = pl.col("item").str.starts_with("write ")
    kept = pl.concat(
        [done.filter(~writes), done.filter(writes).join(released, on="row", how="anti")]
    )
    items = pl.concat([refused, kept])
    own = made.relations(statements.filter(~_refused()))
    return made.with_items(items, own, OF_THE_MAKER).sort("row", maintain_order=True)


def _deed(kind: str, name: str) -> tuple[str, str]:
    """What was done, in words and as a condition."""
    if kind == DATABASE:
        return f"worked in database {shortened(name)}", ""
    if kind == REFUSED:
        touches = f"AND list_contains(list_concat(reads, writes), {literal(name)}) "
        return f"was refused {shortened(name)}", f"{touches}AND sqlstate = '{NO_RIGHT}' "
    return acts.said(kind, shortened(name)), f"AND {acts.condition(kind, name)} "


def _finding(row: dict[str, Any]) -> Finding:
    kind, _, name = row["item"].partition(" ")
    database = name if kind == DATABASE else row["database"]
    who, peers, have = row["identity"], int(row["peers"]), int(row["have"])
    among = f"{have} of {peers} peers have" if peers else "nobody else works in this database"
    known = "identity_name" if row["identity_name"] else "user_name"
    suffix, history = candidates.history(row["history"])
    did, touches = _deed(kind, name)
    score = round(max(row["bits"], 0.001), 3)
    return Finding(
        id=finding_id(row["at_us"], NAME, *(row[name] for name in SCOPE), who, row["item"]),
        kind=FindingKind.ANOMALY,
        detector=NAME,
        severity=Severity.HIGH if have == 0 else Severity.MEDIUM,
        title=f"First time: {shortened(who)} {did}",
        sentence=f"{shortened(who)} {did} for the first time; {among}{suffix}",
        at_us=row["at_us"],
        agent=row["agent"],
        cluster=row["cluster"],
        database=database,
        user=row["user_name"],
        identity=who,
        object=name,
        score=score,
        evidence_sql=(
            "SELECT started_at, user_name, application_name, client_address, sqlstate, text "
            f"FROM statements WHERE {on_server(row)} AND {known} = {literal(who)} "
            f"AND database = {literal(database)} {touches}ORDER BY started_at LIMIT 100"
        ),
        statement_id=row["id"],
        details=(
            ("act", kind),
            ("identity_kind", row["identity_kind"]),
            ("expected", f"{row['expected']:.2g}"),
            ("seen", f"{row['figure']:.2g}"),
            ("unit", "strangeness of the day's newest act"),
            ("peers", str(peers)),
            ("peers_have", str(have)),
            ("new_today", str(int(row["nth"]))),
            ("statements", str(row["id"])),
            *history,
        ),
    )
