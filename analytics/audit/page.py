"""The exemptions in docs/coverage.md: ``python -m analytics.audit.page`` writes them anew."""

from __future__ import annotations

from pathlib import Path

from analytics.audit.exemptions import EXEMPTIONS, NOT_HEARD, PROBE_EXEMPTIONS, Exemption

PAGE = Path("docs/coverage.md")
BEGIN, END = "<!-- exemptions -->", "<!-- end of exemptions -->"


def table() -> str:
    rows = [
        *(_row("pgaudit", line) for line in EXEMPTIONS),
        *(_row("eBPF", line) for line in PROBE_EXEMPTIONS),
        *(f"| `{reason}` | {side} | {why} |" for reason, (side, why) in NOT_HEARD.items()),
    ]
    return "\n".join(["| reason | not seen by | why |", "|---|---|---|", *rows])


def updated(page: str) -> str:
    """The page with its table made new. Raises ValueError if it has no markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE} lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _row(side: str, line: Exemption) -> str:
    return f"| `{line.reason}` | {side} | {line.why} |"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
