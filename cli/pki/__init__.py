"""``pgwarden pki``: a private authority for the certificates of agents and collectors."""

from __future__ import annotations

import typer

from cli.pki.commands import init, issue, list_issued, revoke, rotate
from cli.pki.enrolling import enrol, list_tokens, renew, serve, token, withdraw

app = typer.Typer(
    no_args_is_help=True,
    help="A private authority: short-lived certificates for agents, collectors and approvers.",
)
for name, command in (
    ("init", init),
    ("issue", issue),
    ("list", list_issued),
    ("rotate", rotate),
    ("revoke", revoke),
    ("token", token),
    ("tokens", list_tokens),
    ("withdraw", withdraw),
    ("serve", serve),
    ("enrol", enrol),
    ("renew", renew),
):
    app.command(name)(command)
