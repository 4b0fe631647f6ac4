"""Keyword rules: texts that a list of patterns calls dangerous, each once a user and day."""

from __future__ import annotations

import polars as pl

from bench.detection.baselines.baseline import Points, rows_of
from bench.detection.candidate import Candidate

FAILED_LOGIN = ("28P01", "28000")
RULES: tuple[tuple[str, float, str], ...] = (
    ("credentials", 8, r"(?i)\b(pg_authid|pg_shadow)\b"),
    ("program", 10, r"(?i)\bcopy\b.*\b(to|from)\s+program\b"),
    ("server files", 8, r"(?i)\b(pg_read_(binary_)?file|pg_ls_dir|lo_(ex|im)port)\b"),
    ("copy to file", 6, r"(?i)\bcopy\b.*\bto\s+'"),
    ("union", 6, r"(?i)\bunion\s+(all\s+)?select\b"),
    ("tautology", 6, r"(?i)\bor\s+(1\s*=\s*1|true|'1'\s*=\s*'1')"),
    ("sleep", 7, r"(?i)\bpg_sleep\b"),
    ("drop", 6, r"(?i)^\s*drop\s+(table|schema|database)\b"),
    ("truncate", 5, r"(?i)^\s*truncate\b"),
    ("delete all", 6, r"(?i)^\s*delete\s+from\s+\S+\s*;?\s*$"),
    ("superuser", 9, r"(?i)\b(superuser|bypassrls|pg_execute_server_program)\b"),
    ("role", 4, r"(?i)^\s*(create|alter|drop)\s+(role|user)\b"),
    ("grant", 3, r"(?i)^\s*grant\b"),
    ("system setting", 5, r"(?i)^\s*alter\s+system\b"),
    ("logging off", 8, r"(?i)\b(log_statement|pgaudit\.log)\b.*\b(none|off)\b"),
    ("trigger off", 6, r"(?i)\bdisable\s+trigger\b|\bsession_replication_role\b"),
    ("extension", 4, r"(?i)^\s*create\s+(extension|.*\blanguage\b.*untrusted)"),
    ("dblink", 5, r"(?i)\b(dblink|postgres_fdw|create\s+server)\b"),
    ("catalog", 2, r"(?i)\b(information_schema\.|pg_tables|pg_class|pg_attribute|pg_roles)\b"),
    ("sensitive", 2, r"(?i)\b(password|passwd|ssn|salary|salaries|card_number|iban|secret)\b"),
)  # fmt: skip


class Keywords:
    def __init__(self) -> None:
        self._hit: set[tuple[str, int, str]] = set()
        self._points = Points()

    def observe(self, batch: pl.DataFrame) -> list[Candidate]:
        texts = (
            rows_of(batch)
            .group_by("identity", "day", "text", login=pl.col("sqlstate").is_in(FAILED_LOGIN))
            .agg(pl.col("at_us").min())
        )
        rules = [pl.col("text").str.contains(pattern).alias(name) for name, _, pattern in RULES]
        weights = {name: points for name, points, _ in RULES} | {"login": 2.0}
        hits = (
            texts.with_columns(*rules)
            .unpivot(list(weights), index=["identity", "day", "at_us"], variable_name="rule")
            .filter("value")
            .sort("at_us", "identity", "rule")
        )
        found = []
        for who, day, at_us, rule in hits.select("identity", "day", "at_us", "rule").iter_rows():
            if (who, day, rule) not in self._hit:
                self._hit.add((who, day, rule))
                found.append(self._points.add(who, at_us, weights[rule], rule))
        return found
