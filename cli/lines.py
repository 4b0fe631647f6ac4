"""One row of a view as one line that a person reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from rich.text import Text

from cli.context import printable

Row = Mapping[str, Any]
TEXT_WIDTH = 90
KIND_MARK = {"human": "person", "service": "service", "ai_agent": "AI agent", "unknown": "?"}
SEVERITY_STYLE = {
    "informational": "dim",
    "low": "cyan",
    "medium": "yellow",
    "high": "red",
    "critical": "bold red",
}


def line(kind: str, row: Row) -> Text:
    """``kind`` is the name of a TailItem; an unknown one is shown as it is."""
    render = LINES.get(kind, _other)
    shown = render(row)
    # Also what only the agent or a rule file chooses: one whose host was taken over may lie.
    return shown if shown.plain.isprintable() else Text(printable(shown.plain))


def clock(at: Any) -> str:
    """Local wall time of an ISO 8601 text or a datetime."""
    if isinstance(at, str):
        try:
            at = datetime.fromisoformat(at)
        except ValueError:
            return printable(at)
    return f"{at.astimezone():%H:%M:%S}" if isinstance(at, datetime) else "--:--:--"


def who(row: Row) -> str:
    """``ai agent assistant (app_ro@shop 10.0.0.7)``: identity first, then the credential."""
    name = row.get("identity_name") or row.get("user_name") or "unknown"
    mark = KIND_MARK.get(str(row.get("identity_kind") or "unknown"), "?")
    login = f"{row.get('user_name') or '?'}@{row.get('database') or '?'}"
    origin = f" from {row['client_address']}" if row.get("client_address") else ""
    return printable(f"{mark} {name} ({login}{origin})")


def statement(row: Row) -> Text:
    text = shortened(str(row.get("text") or row.get("summary") or ""))
    failed = row.get("sqlstate") not in (None, "", "00000")
    cut = row.get("parse_status") == "cut"
    touched = ", ".join([*(row.get("reads") or []), *(f"✎{w}" for w in row.get("writes") or [])])
    result = f"{row['sqlstate']}" if failed else _result(row)
    return Text.assemble(
        (clock(row.get("started_at")) + " ", "dim"),
        (who(row) + "  ", "cyan"),
        (text, "red" if failed else ""),
        (f"  (only the beginning of {row.get('text_bytes')} bytes)" if cut else "", "yellow"),
        (f"  → {printable(touched)}" if touched else "", "green"),
        (f"  {result}", "red" if failed else "dim"),
        (f"  [{row.get('source')}]", "dim"),
    )


def verdict(row: Row) -> Text:
    outcome = str(row.get("outcome", ""))
    stopped = outcome in ("prevented", "cancelled", "terminated")
    return Text.assemble(
        (clock(row.get("occurred_at")) + " ", "dim"),
        (f"{'✖' if stopped else '!'} {outcome} ", "bold red" if stopped else "yellow"),
        (who(row) + "  ", "cyan"),
        shortened(str(row.get("text") or f"session of pid {row.get('pid')}")),
        (f"  rule {row.get('rule_id')}: {printable(str(row.get('reason') or ''))}", "yellow"),
    )


def finding(row: Row) -> Text:
    severity = str(row.get("severity", ""))
    return Text.assemble(
        (clock(row.get("occurred_at")) + " ", "dim"),
        (f"◆ {row.get('kind')} {severity} ", SEVERITY_STYLE.get(severity, "")),
        printable(str(row.get("sentence") or row.get("title") or "")),
        ("  (resolved)" if row.get("resolved_at") else "", "green"),
    )


def drift(row: Row) -> Text:
    actor = row.get("actor") or "nobody on the wire"
    return Text.assemble(
        (clock(row.get("occurred_at")) + " ", "dim"),
        (f"≠ drift {row.get('kind')} {row.get('change')} ", "magenta"),
        printable(
            f"{row.get('name')}: {row.get('desired') or '∅'} → "
            f"{row.get('observed') or '∅'} by {actor}"
        ),
    )


def approval(row: Row) -> Text:
    actor = f" by {row['actor']}" if row.get("actor") else ""
    return Text.assemble(
        (clock(row.get("occurred_at")) + " ", "dim"),
        (f"? request {row.get('request')} {row.get('step')}{printable(actor)} ", "bold magenta"),
        (who(row) + "  ", "cyan"),
        shortened(str(row.get("text") or "")),
        (f"  {printable(str(row.get('reason') or ''))}", "yellow"),
    )


def alert(row: Row) -> Text:
    return Text.assemble(
        (clock(row.get("occurred_at")) + " ", "dim"),
        (f"☎ alert {row.get('status')} {row.get('severity')} ", "bold magenta"),
        printable(str(row.get("title") or "")),
    )


def session(row: Row) -> Text:
    ended = bool(row.get("ended_at"))
    return Text.assemble(
        (clock(row.get("ended_at") or row.get("seen_at")) + " ", "dim"),
        ("- session ended " if ended else "+ session ", "dim"),
        (who(row), "cyan"),
        printable(f" pid {row.get('pid')} {row.get('application_name') or ''}"),
    )


def loss(row: Row) -> Text:
    return Text.assemble(
        (clock(row.get("occurred_at")) + " ", "dim"),
        (f"✗ lost {row.get('count')} at {row.get('source')}: {row.get('reason')}", "bold red"),
    )


def _other(row: Row) -> Text:
    return Text(printable(str(dict(row))))


def shortened(text: str) -> str:
    text = printable(" ".join(text.split()))
    return text if len(text) <= TEXT_WIDTH else text[: TEXT_WIDTH - 1] + "…"


def _result(row: Row) -> str:
    parts = []
    if row.get("rows") is not None:
        parts.append(f"{row['rows']} rows")
    if row.get("duration_us") is not None:
        parts.append(f"{row['duration_us'] / 1000:.1f} ms")
    return " ".join(parts)


LINES: dict[str, Callable[[Row], Text]] = {
    "statement": statement,
    "verdict": verdict,
    "finding": finding,
    "drift": drift,
    "alert": alert,
    "approval": approval,
    "session": session,
    "loss": loss,
}
