"""The commands of ``pgwarden pki``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from cli.context import ConfigOption, Exit, JsonOption, err, fail, out, printable, read_config
from cli.pki import tokens
from cli.pki.authority import AGENT_LIFETIME, Authority, Issued, PkiError
from cli.pki.placing import PUBLIC, place
from model.certified import Certified, Role

DirOption = Annotated[
    Path,
    typer.Option("--dir", "-d", envvar="PGWARDEN_PKI", help="The authority's folder, mode 0700."),
]
DEFAULT_DIR = Path("/etc/pgwarden/pki")
OTHER_LIFETIME = timedelta(days=90)


def init(
    folder: DirOption = DEFAULT_DIR,
    name: Annotated[str, typer.Option(help="The authority's name.")] = "pgwarden",
    years: Annotated[int, typer.Option(help="How long it lives.", min=1, max=50)] = 10,
) -> None:
    """Make an authority: an ECDSA P-256 key, its certificate, an empty revocation list."""
    with told():
        Authority.create(folder, name, timedelta(days=365 * years), now())
    say(f"✓ {folder}: keep ca.key off agents and collectors, and back it up")
    say(f"  collector.tls.ca: a copy of {folder}/ca.pem, collector.tls.crl: of {folder}/crl.pem")


def issue(
    role: Annotated[Role, typer.Argument(help="Whom it is for.")],
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="The agent's or approver's name; for a collector each name and address"
            " under which agents reach it.",
        ),
    ],
    folder: DirOption = DEFAULT_DIR,
    days: Annotated[
        float | None,
        typer.Option(help="How long it lives: 7, for a collector or approver 90.", min=0.001),
    ] = None,
) -> None:
    """Issue a key and a certificate, in a folder to take to the owner's host."""
    if role is not Role.COLLECTOR and len(names) > 1:
        fail(f"one {role} at a time: {printable(names[0])}", Exit.USAGE)
    who = Certified(role, names[0])
    hosts = names if role is Role.COLLECTOR else []
    usual = AGENT_LIFETIME if role is Role.AGENT else OTHER_LIFETIME
    lifetime = timedelta(days=days) if days else usual
    with told(), Authority.opened(folder) as authority:
        issued = authority.issue(who, hosts, lifetime, now())
        _tell(issued, authority)
        home = authority.home(who)
    section = "agent" if role is Role.AGENT else "collector"
    say(f"  {section}.tls: {{certificate: cert.pem, key: key.pem, ca: ca.pem}}, all in {home}")


def rotate(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="None: all that have less than a third left."),
    ] = None,
    folder: DirOption = DEFAULT_DIR,
) -> None:
    """Issue the next certificate before the present one ends; both are valid until then."""
    at = now()
    with told(), Authority.opened(folder) as authority:
        newest = {each.who: each for each in authority.issued() if each.revoked_at is None}
        if names:
            due = [_one(newest.values(), name) for name in names]
        else:
            due = [each for each in newest.values() if each.is_due(at)]
        for each in due:
            _tell(authority.rotate(each, at), authority)
    if not due:
        say("✓ nothing is due")


def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME|SERIAL", help="See pgwarden pki list.")],
    folder: DirOption = DEFAULT_DIR,
    crl: Annotated[
        Path | None,
        typer.Option(help="Where the collector reads the list; collector.tls.crl if not given."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Revoke every certificate of a name, or one by its serial: the collector ends its streams.
    With the name its outstanding tokens end as well."""
    at = now()
    with told():
        with Authority.opened(folder) as authority:
            issued = authority.issued()
            which = [each for each in issued if each.serial == name.lower()]
            withdrawn = [] if which else tokens.withdraw(authority, name, at)
            for token in withdrawn:
                say_withdrawn(token)
            if not which and (not withdrawn or any(each.who.name == name for each in issued)):
                owner = _one(issued, name).who
                which = [each for each in issued if each.who == owner]
            left = [each for each in which if each.state(at) == "valid"]
            if withdrawn and not left:
                return
            if not left:
                fail(f"{printable(name)} has no valid certificate: see pgwarden pki list")
            to = _place_of_list(crl, config)
            data = authority.revoke(left, at, to)
        for each in left:
            say(f"✓ revoked: {each.who.role} {printable(each.who.name)}, serial {each.serial}")
        _publish(data, authority.crl, to)


def _place_of_list(given: Path | None, config: Path | None) -> Path | None:
    tls = read_config(config).collector.tls if given is None else None
    return tls.crl if tls else given


def _publish(data: bytes, made: Path, to: Path | None) -> None:
    if to is None:
        err.print(
            f"! no collector.tls.crl here: copy {made} to where the collector reads it",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
        return
    if to.absolute() != made.absolute():
        place(to, data, PUBLIC)
    say(f"  {to}: the collector has it within seconds")


def list_issued(folder: DirOption = DEFAULT_DIR, as_json: JsonOption = False) -> None:
    """List what was issued: owner, serial, end, and whether it is valid, expired or revoked."""
    at = now()
    with told(), Authority.opened(folder) as authority:
        issued = authority.issued()
    for each in issued:
        state, ends = each.state(at), each.ends.strftime("%Y-%m-%dT%H:%M:%SZ")
        if as_json:
            row = {"role": each.who.role, "name": each.who.name, "serial": each.serial}
            typer.echo(json.dumps({**row, "ends": ends, "state": state}))
        else:
            say(f"{state:8}{each.who.role:10}{ends}  {printable(each.who.name)}  {each.serial}")


def _one(issued: Iterable[Issued], name: str) -> Issued:
    """The newest of this name. Raises PkiError if it is nobody's, or somebody's of two roles."""
    found = [each for each in issued if each.who.name == name]
    if not found:
        raise PkiError(f"{name!r} has no certificate: see pgwarden pki list")
    if len({each.who for each in found}) > 1:
        serials = ", ".join(f"{each.who.role} {each.serial}" for each in found)
        raise PkiError(f"{name!r} is not one owner; give a serial: {serials}")
    return found[-1]


def _tell(issued: Issued, authority: Authority) -> None:
    ends = issued.ends.strftime("%Y-%m-%d %H:%M UTC")
    name, home = printable(issued.who.name), authority.home(issued.who)
    say(f"✓ {issued.who.role} {name}, until {ends}, serial {issued.serial}: {home}")


def say_withdrawn(token: tokens.Outstanding) -> None:
    say(f"✓ withdrawn: token {token.id} of agent {printable(token.agent)}")


@contextmanager
def told() -> Iterator[None]:
    try:
        yield
    except PkiError as error:
        fail(printable(str(error)))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")


def say(text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)


def now() -> datetime:
    return datetime.now(UTC)
