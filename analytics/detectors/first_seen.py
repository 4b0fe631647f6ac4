"""First-seen access: an identity reads or writes a relation that it never touched before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics import alike, candidates, made, novelty
from analytics.candidates import shortened
from analytics.findings import finding_id, literal, on_server
from analytics.frames import SCOPE, succeeded
from analytics.novelty import NoveltySettings
from model.finding import Finding, FindingKind
from model.verdict import Severity

NAME = "first_seen"
WRITES = ("insert", "update", "delete", "truncate", "merge", "copy")
OF_THE_MAKER = ("read ", "write ", "insert ", "update ", "delete ", "truncate ", "copy ")
PAST_TENSE = {
    "read": "read",
    "write": "wrote",
    "insert": "inserted into",
    "update": "updated",
    "delete": "deleted from",
    "truncate": "truncated",
    "merge": "merged into",
    "copy": "copied into",
}
# Every client tool reads these catalogs; those that hold secrets stay watched.
DULL_RELATION = r"^(pg_catalog\.|information_schema\.|pg_toast\.|pg_temp|pg_)"
SENSITIVE_RELATION = (
    r"^(pg_catalog\.)?(pg_authid|pg_shadow|pg_user_mapping|pg_user_mappings|pg_statistic"
    r"|pg_largeobject|pg_hba_file_rules|pg_file_settings)$"
)


@dataclass(frozen=True)
class FirstSeenSettings(NoveltySettings):
    pass


@dataclass(frozen=True)
class FirstSeen:
    """Score: -log10 of the chance of a day with an access as rare among peers, of this identity."""

    settings: FirstSeenSettings = FirstSeenSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        return novelty.empty_state()

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        wanted = succeeded() & (pl.col("identity") != "")
        dated = alike.dated(batch, wanted, state, int(self.settings.day_seconds * 1e6))
        wanted = made.not_made(made.relations(dated.alike), OF_THE_MAKER)
        wanted &= ~pl.col("item").str.starts_with(novelty.DATABASE)
        writes = ~pl.col("item").str.starts_with("read ")
        state, told = novelty.first_times(state, dated, _accesses, wanted, self.settings, writes)
        return state, [_finding(row) for row in told]


def _accesses(statements: pl.DataFrame) -> pl.DataFrame:
    """``row`` and ``item`` (``read hr.salaries``) for each relation that is worth watching."""
    verb = pl.when(pl.col("operation").is_in(WRITES)).then("operation").otherwise(pl.lit("write"))
    touched = pl.concat(
        statements.select("row", verb=how, relation=column).explode("relation", empty_as_null=True)
        for column, how in (("reads", pl.lit("read")), ("writes", verb))
    )
    relation = pl.col("relation")
    dull = relation.str.contains(DULL_RELATION) & ~relation.str.contains(SENSITIVE_RELATION)
    watched = touched.filter(relation.is_not_null() & ~dull)
    accesses = watched.select("row", item=pl.concat_str("verb", pl.lit(" "), "relation"))
    return made.with_items(accesses, made.relations(statements), OF_THE_MAKER).sort(
        "row", maintain_order=True
    )


def _finding(row: dict[str, Any]) -> Finding:
    verb, _, relation = row["item"].partition(" ")
    who, peers, have = row["identity"], int(row["peers"]), int(row["have"])
    among = f"{have} of {peers} peers have" if peers else "nobody else works in this database"
    known = "identity_name" if row["identity_name"] else "user_name"
    agent = row["identity_kind"] == "ai_agent"
    suffix, history = candidates.history(row["history"])
    column = "reads" if verb == "read" else "writes"
    did = f"{PAST_TENSE[verb]} {shortened(relation)}"
    score = round(max(row["bits"], 0.001), 3)
    return Finding(
        id=finding_id(row["at_us"], NAME, *(row[name] for name in SCOPE), who, row["item"]),
        kind=FindingKind.ANOMALY,
        detector=NAME,
        severity=Severity.HIGH if have == 0 and (agent or verb != "read") else Severity.MEDIUM,
        title=f"First access: {shortened(who)} to {shortened(relation)}",
        sentence=f"{shortened(who)} {did} for the first time; {among}{suffix}",
        at_us=row["at_us"],
        agent=row["agent"],
        cluster=row["cluster"],
        database=row["database"],
        user=row["user_name"],
        identity=who,
        object=relation,
        score=score,
        evidence_sql=(
            "SELECT started_at, user_name, application_name, client_address, rows, text "
            f"FROM statements WHERE {on_server(row)} AND {known} = {literal(who)} "
            f"AND database = {literal(row['database'])} "
            f"AND list_contains({column}, {literal(relation)}) ORDER BY started_at LIMIT 100"
        ),
        statement_id=row["id"],
        details=(
            ("verb", verb),
            ("identity_kind", row["identity_kind"]),
            ("expected", f"{row['expected']:.2g}"),
            ("seen", f"{row['figure']:.2g}"),
            ("unit", "strangeness of the day's newest access"),
            ("peers", str(peers)),
            ("peers_have", str(have)),
            ("new_today", str(int(row["nth"]))),
            ("statements", str(row["id"])),
            *history,
        ),
    )
