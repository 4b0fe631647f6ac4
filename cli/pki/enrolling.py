"""``pgwarden pki token``, ``serve`` and ``enrol``: a host's first certificate over the network."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509

from cli.context import JsonOption, printable
from cli.pki import tokens
from cli.pki.authority import Authority, PkiError
from cli.pki.commands import DEFAULT_DIR, DirOption, now, say, say_withdrawn, told
from cli.pki.enrolment import EnrolmentServer, obtain, obtain_next


def token(
    name: Annotated[str, typer.Argument(help="The agent's name.")],
    folder: DirOption = DEFAULT_DIR,
    minutes: Annotated[float, typer.Option(help="How long it may be used.", min=0.01)] = 60,
) -> None:
    """Print a token with which the agent's host gets its certificate, once."""
    at = now()
    with told(), Authority.opened(folder) as authority:
        made = tokens.make(authority, name, at + timedelta(minutes=minutes), at)
    typer.echo(str(made))


def list_tokens(folder: DirOption = DEFAULT_DIR, as_json: JsonOption = False) -> None:
    """List tokens that may still be used: id, agent, end. The secret is nowhere."""
    with told(), Authority.opened(folder) as authority:
        found = tokens.outstanding(authority, now())
    for each in found:
        ends = each.ends.strftime("%Y-%m-%dT%H:%M:%SZ")
        if as_json:
            typer.echo(json.dumps({"id": each.id, "agent": each.agent, "ends": ends}))
        else:
            say(f"{each.id}  {ends}  {printable(each.agent)}")


def withdraw(
    which: Annotated[str, typer.Argument(metavar="NAME|ID", help="See pgwarden pki tokens.")],
    folder: DirOption = DEFAULT_DIR,
) -> None:
    """End an agent's outstanding tokens, or one; certificates stay (pki revoke ends both)."""
    with told(), Authority.opened(folder) as authority:
        gone = tokens.withdraw(authority, which, now())
        if not gone:
            raise PkiError(f"{which!r} has no outstanding token: see pgwarden pki tokens")
    for each in gone:
        say_withdrawn(each)


def serve(
    host: Annotated[str, typer.Argument(help="Name or address of this host, as agents reach it.")],
    folder: DirOption = DEFAULT_DIR,
    port: Annotated[int, typer.Option(min=0, max=65535)] = 4318,
) -> None:
    """Give certificates for tokens until Ctrl-C; run it while hosts enrol."""
    with told():
        server = EnrolmentServer(folder, host, port, lambda text: say(printable(text)), now)
    with server:
        say(f"✓ https://{host}:{server.server_port} gives certificates for tokens")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


def enrol(
    url: Annotated[str, typer.Argument(help="https://HOST:PORT of pgwarden pki serve.")],
    to: Annotated[Path, typer.Option("--out", help="Folder for key, certificate and authority.")],
    text: Annotated[
        str,
        typer.Option(
            "--token",
            envvar="PGWARDEN_TOKEN",
            prompt="Token",
            hide_input=True,
            help="From pki token.",
        ),
    ],
) -> None:
    """Make a key on this host and get its agent certificate for a token."""
    with told():
        certificate = obtain(url, tokens.parsed(text), to)
    _tell(certificate, to)


def renew(
    url: Annotated[str, typer.Argument(help="https://HOST:PORT of pgwarden pki serve.")],
    to: Annotated[Path, typer.Option("--out", help="Folder that pki enrol has filled.")],
) -> None:
    """Get the next certificate of this host's agent for the present one, which must be valid."""
    with told():
        certificate = obtain_next(url, to)
    _tell(certificate, to)


def _tell(certificate: x509.Certificate, to: Path) -> None:
    ends = certificate.not_valid_after_utc.strftime("%Y-%m-%d %H:%M UTC")
    say(f"✓ {to}: cert.pem, key.pem and ca.pem, until {ends}")
