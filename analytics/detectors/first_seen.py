"""First-seen access: an identity reads or writes a relation that it never touched before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from analytics import novelty
from analytics.findings import finding_id, literal
from analytics.frames import SCOPE, prepare, succeeded
from model.finding import Finding, FindingKind
from model.verdict import Severity

NAME = "first_seen"
WRITES = ("insert", "update", "delete", "truncate", "merge", "copy")
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
class FirstSeenSettings:
    learn_seconds: float = 7 * 86_400
    learn_statements: int = 200
    min_score: float = 3.5
    max_keys: int = 200_000


@dataclass(frozen=True)
class FirstSeen:
    """Score: -log(own rate of new relations) - log(rate of peers that know the relation)."""

    settings: FirstSeenSettings = FirstSeenSettings()
    name: str = NAME

    def empty_state(self) -> pl.DataFrame:
        return novelty.empty_state()

    def observe(
        self, state: pl.DataFrame, batch: pl.DataFrame
    ) -> tuple[pl.DataFrame, list[Finding]]:
        statements = prepare(batch).filter(succeeded())
        limits = novelty.NoveltySettings(
            self.settings.learn_seconds,
            self.settings.learn_statements,
            self.settings.min_score,
            max_keys=self.settings.max_keys,
        )
        after, surprising = novelty.observe(
            state,
            statements.select(*_KEPT, subject=pl.col("identity")),
            _accesses(statements),
            limits,
        )
        return after, [_finding(row) for row in surprising.iter_rows(named=True)]


_KEPT = (*SCOPE, "row", "at_us", "id", "user_name", "identity_kind", "identity_name")


def _accesses(statements: pl.DataFrame) -> pl.DataFrame:
    """``row`` and ``item`` (``read hr.salaries``) for each relation that is worth watching."""
    verb = pl.when(pl.col("operation").is_in(WRITES)).then("operation").otherwise(pl.lit("write"))
    touched = pl.concat(
        statements.select("row", verb=how, relation=column).explode("relation", empty_as_null=True)
        for column, how in (("reads", pl.lit("read")), ("writes", verb))
    )
    relation = pl.col("relation")
    dull = relation.str.contains(DULL_RELATION) & ~relation.str.contains(SENSITIVE_RELATION)
    return (
        touched.filter(relation.is_not_null() & ~dull)
        .sort("row", maintain_order=True)
        .select("row", item=pl.concat_str("verb", pl.lit(" "), "relation"))
    )


def _finding(row: dict[str, Any]) -> Finding:
    verb, _, relation = row["item"].partition(" ")
    who, peers, have = row["subject"], row["peers"], row["peers_have"]
    among = f"{have} of {peers} peers have" if peers else "nobody else works in this database"
    column = "reads" if verb == "read" else "writes"
    known = "identity_name" if row["identity_name"] else "user_name"
    agent = row["identity_kind"] == "ai_agent"
    return Finding(
        id=finding_id(row["at_us"], NAME, *(row[name] for name in SCOPE), who, row["item"]),
        kind=FindingKind.ANOMALY,
        detector=NAME,
        severity=Severity.HIGH if have == 0 and (agent or verb != "read") else Severity.MEDIUM,
        title=f"First access: {who} to {relation}",
        sentence=f"{who} {PAST_TENSE[verb]} {relation} for the first time; {among}",
        at_us=row["at_us"],
        agent=row["agent"],
        cluster=row["cluster"],
        database=row["database"],
        user=row["user_name"],
        identity=who,
        object=relation,
        score=round(row["score"], 3),
        evidence_sql=(
            "SELECT started_at, user_name, application_name, client_address, rows, text "
            f"FROM statements WHERE {known} = {literal(who)} "
            f"AND database = {literal(row['database'])} "
            f"AND list_contains({column}, {literal(relation)}) ORDER BY started_at LIMIT 100"
        ),
        statement_id=row["id"],
        details=(
            ("verb", verb),
            ("statements_before", str(row["statements_before"])),
            ("relations_before", str(row["items_before"])),
            ("peers", str(peers)),
            ("peers_have", str(have)),
        ),
    )
