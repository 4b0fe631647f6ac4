"""``pgwarden rules keygen`` and ``sign``: central rules, made where the private key is."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.context import Exit, err, fail, out
from rules import RuleError, RuleSet
from rules.bundle import (
    Bundle,
    BundleError,
    folder_files,
    next_version,
    private_key,
    seal,
    to_file,
)


def keygen(
    name: Annotated[
        Path, typer.Argument(help="NAME.key (private, keep it off agents) and NAME.pub.")
    ],
) -> None:
    """Make the pair of keys with which central rules are signed and verified."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for suffix, data, mode in ((".key", private, 0o600), (".pub", public, 0o644)):
        _create(Path(f"{name}{suffix}"), data, mode)
    out.print(f"✓ {name}.key signs, {name}.pub verifies", markup=False, soft_wrap=True)


def sign(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with the rule files.")],
    key: Annotated[Path, typer.Option("--key", help="Private key, from rules keygen.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")],
    version: Annotated[
        int, typer.Option(help="Must grow from bundle to bundle; 0: the time in seconds.", min=0)
    ] = 0,
    not_before: Annotated[
        str, typer.Option(help="Agents wait until then: date and time, UTC; empty: at once.")
    ] = "",
) -> None:
    """Check the rules of a folder and seal them as one bundle for the collector."""
    try:
        rules = RuleSet.load([folder])
        begins = _seconds(not_before)
        bundle = Bundle(version or next_version(), begins, folder_files(folder))
        sealed = seal(bundle, private_key(key.read_bytes()))
    except RuleError as error:
        for problem in error.problems:
            err.print(f"✗ {problem}", style="red", markup=False, soft_wrap=True)
        raise typer.Exit(Exit.CONFIGURATION) from None
    except (BundleError, OSError) as error:
        fail(str(error))
    part = output.with_name(f".{output.name}.part")
    try:
        part.write_bytes(to_file(sealed))
        part.replace(output)
    except OSError as error:
        fail(f"{output}: {error.strerror}")
    out.print(
        f"✓ {output}: version {bundle.version}, {len(rules.rules)} rules of "
        f"{len(bundle.files)} files",
        markup=False,
        soft_wrap=True,
    )


def _seconds(text: str) -> int:
    if not text:
        return 0
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--not-before {text!r} is no date and time", Exit.USAGE)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def _create(file: Path, data: bytes, mode: int) -> None:
    """Never over an older key: what it signed could not be replaced any more."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    with os.fdopen(descriptor, "wb") as new:
        new.write(data)
