"""The reference part of docs/views.md: ``python -m collector.schema_page`` writes it anew."""

from pathlib import Path

from collector.schema import TABLES, VIEWS, DerivedView, Table

PAGE = Path("docs/views.md")
BEGIN, END = "<!-- reference -->", "<!-- end of reference -->"


def reference() -> str:
    """Markdown: a section for each view with its columns, types and meanings."""
    views: list[Table | DerivedView] = [*TABLES.values(), *VIEWS.values()]
    return "\n".join(map(_section, views))


def updated(page: str) -> str:
    """The page with its reference part made new. Raises ValueError if it has no markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE} lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{reference()}\n{END}{after}"


def _section(table: Table | DerivedView) -> str:
    latest_by = table.latest_by if isinstance(table, Table) else ()
    key = ", ".join(f"`{name}`" for name in latest_by)
    note = f" The last row for each {key}." if key else ""
    lines = [
        f"### {table.name}",
        "",
        f"{table.meaning}{note}",
        "",
        "| column | type | meaning |",
        "|---|---|---|",
        *(f"| `{c.name}` | {c.duckdb_type} | {c.meaning} |" for c in table.columns),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
