"""``pgwarden rules``: list, check and test rules before they judge anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.table import Table

from agent.configured_rules import load_rules, tuning
from cli.context import ConfigOption, Exit, JsonOption, err, fail, out, printable, read_config
from rules import DEFAULT_PACKS, Limit, Rule, RuleError, RuleSet
from rules.examples import ExampleResult, ShapeOf, run_examples, without_examples

app = typer.Typer(no_args_is_help=True, help="List, check and test the rules.")

PathsArgument = Annotated[
    list[Path] | None,
    typer.Argument(help="Rule files or folders; those of the configuration if none is given."),
]


@app.command("list")
def list_rules(
    paths: PathsArgument = None, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Every rule: what it looks for, how bad it is, what it does."""
    rules = load(paths, config, json)
    if json:
        for rule in rules.rules:
            typer.echo(orjson.dumps(_as_json(rule)))
        for limit in rules.limits.values():
            typer.echo(orjson.dumps(_as_json(limit.rule) | _figures(limit)))
        return
    table = Table("rule", "severity", "action", "unknown", "title", box=None, pad_edge=False)
    for rule in (*rules.rules, *(limit.rule for limit in rules.limits.values())):
        table.add_row(
            rule.id, rule.severity.value, rule.action.value, rule.unknown.value, rule.title
        )
    out.print(table)


@app.command("check")
def check_rules(
    paths: PathsArgument = None, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Exit 0 when the rules can be used, 78 with every problem when they cannot."""
    rules = load(paths, config, json)
    bare = [rule.id for rule in without_examples(rules)]
    count, over = len(rules.rules) + len(rules.limits), _expired(rules)
    if json:
        answer = {"rules": count, "without_examples": bare, "expired": over, "problems": []}
        typer.echo(orjson.dumps(answer))
        return
    out.print(f"✓ {count} rules are good")
    for sentence in over:
        out.print(f"! {sentence}", style="yellow", markup=False)
    for rule_id in bare:
        out.print(
            f"! {rule_id} lacks an example that matches, or one that must not", style="yellow"
        )


@app.command("test")
def run_tests(
    paths: PathsArgument = None, config: ConfigOption = None, json: JsonOption = False
) -> None:
    """Run the rules' examples through the real parser; exit 1 when one fails."""
    rules = load(paths, config, json, tuned=False)
    with parser() as shape_of:
        results = run_examples(rules, shape_of)
    failed = [result for result in results if not result.passed]
    if json:
        for result in results:
            typer.echo(orjson.dumps(_result_as_json(result)))
    else:
        for result in failed:
            out.print(_failure(result), style="red", markup=False, soft_wrap=True)
        mark, style = ("✗", "red") if failed else ("✓", "green")
        passed = len(results) - len(failed)
        out.print(f"{mark} {passed} of {len(results)} examples pass", style=style)
    raise typer.Exit(Exit.FOUND if failed else Exit.GOOD)


def load(
    paths: Iterable[Path] | None, config: Path | None, json: bool = False, *, tuned: bool = True
) -> RuleSet:
    """Rules of ``paths``, else of the configuration, else our own; exit 78 where they are bad.
    ``tuned``: with the configuration's exceptions and actions, where ``paths`` names no others."""
    settings = read_config(config).agent.rules
    try:
        if tuned and not paths:
            return load_rules(settings)
        # Exceptions and actions may be about rules of other files, and examples know nothing of
        # them.
        plain = replace(tuning(settings), exceptions=(), actions={})
        return RuleSet.load(list(paths or settings.packs or [DEFAULT_PACKS]), settings.vars, plain)
    except RuleError as error:
        if json:
            typer.echo(orjson.dumps({"problems": [str(each) for each in error.problems]}))
        for problem in error.problems:
            err.print(f"✗ {problem}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(Exit.CONFIGURATION) from None


@contextmanager
def parser() -> Iterator[ShapeOf]:
    """The agent's own sandboxed parser: an example means what it means on a database host."""
    # The worker is needed here only.
    from agent.sql.client import ParserClient
    from agent.sql.process import WorkerError

    try:
        client = ParserClient()
    except WorkerError as error:
        fail(f"the parser cannot be started: {error}")
    with client:
        yield lambda sql: client.shapes([data := sql.encode("utf-8", "replace")], [len(data)])[0]


def _as_json(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.id,
        "title": rule.title,
        "severity": rule.severity,
        "action": rule.action,
        "unknown": rule.unknown,
        "approval": rule.approval,
        "status": rule.status,
        "tags": rule.tags,
        "message": rule.message,
        "when": rule.when,
        "examples": len(rule.examples),
        "file": rule.path,
        "line": rule.line,
    }


def _figures(limit: Limit) -> dict[str, object]:
    return {
        "rows_per_hour": limit.rows_per_hour,
        "statements_per_hour": limit.statements_per_hour,
        "per": limit.per,
    }


def _expired(rules: RuleSet) -> list[str]:
    """Exceptions that are of no effect any more. Not bad: the day comes by itself."""
    today = date.today()
    return [
        f"{rule.id}: the exception {one.because or one.when!r} ended on {one.until}"
        for rule in (*rules.rules, *(limit.rule for limit in rules.limits.values()))
        for one in rule.unless
        if one.until is not None and one.until < today
    ]


def _result_as_json(result: ExampleResult) -> dict[str, object]:
    return {
        "rule": result.rule.id,
        "sql": result.example.sql,
        "line": result.example.line,
        "expected": "match" if result.example.matches else "no_match",
        "passed": result.passed,
        "parse_status": result.shape.status,
        "error": result.error,
    }


def _failure(result: ExampleResult) -> str:
    example = result.example
    place = f"{result.rule.path}:{example.line}"
    wanted = "must match" if example.matches else "must not match"
    why = result.error or f"parsed as {result.shape.summary or result.shape.status.value}"
    return f"✗ {place}: {result.rule.id} {wanted}: {printable(example.sql)} ({why})"
