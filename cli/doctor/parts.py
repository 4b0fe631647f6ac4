"""What the agent brings along: a loader for its probes, the parser worker, the rules."""

from __future__ import annotations

import sys

from agent.identity import IdentityError
from agent.probes.errors import CaptureUnavailable
from agent.probes.loader import OBJECT, Loader, open_loader
from agent.probes.ring import ring_size
from cli.doctor.check import Check, bad, good, one_line, warn
from config import Config
from config.schema import Loader as Wanted
from model.statement import ParseStatus
from rules import DEFAULT_PACKS, RuleError, RuleSet

SMALL_RING_BYTES = 4096
FEW_SESSIONS = 16
REINSTALL = "pip install --require-hashes -r requirements.lock"
SAMPLE = b"SELECT name FROM staff WHERE id = 7"


def check_loader(config: Config) -> list[Check]:
    """Loads the probes into the kernel, attached to nothing, and takes them out again."""
    capture = config.agent.capture
    if not capture.ebpf:
        return [good("loader", "not needed: agent.capture.ebpf is false")]
    try:
        loader = open_loader(capture.loader.value)
        loader.unload(loader.load(ring_size(SMALL_RING_BYTES), FEW_SESSIONS))
    except CaptureUnavailable as error:
        return [_loader_fails(error, capture.loader)]
    return [good("loader", _loader_works(loader, capture.loader))]


def _loader_works(loader: Loader, wanted: Wanted) -> str:
    other = f"; {_bcc()}" if loader.name == "libbpf" else ""
    return f"{wanted.value} takes {loader.name}; the kernel accepts the probes{other}"


def _loader_fails(error: CaptureUnavailable, wanted: Wanted) -> Check:
    sentence = f"{wanted.value}: {one_line(error.reason)[:400]}; the pgaudit log alone remains"
    if wanted is Wanted.LIBBPF and not OBJECT.exists() and _bcc() == "bcc is there too":
        return bad("loader", sentence, f"{error.remedy}\n# or set agent.capture.loader: auto")
    return bad("loader", sentence, error.remedy or "set agent.capture.ebpf: false")


def _bcc() -> str:
    """Imported for real, in a process that ends soon: a broken bcc is no second loader."""
    from agent.probes.bcc_loader import import_bcc

    try:
        import_bcc()
    except CaptureUnavailable as error:
        return f"no bcc as a second one ({one_line(error.reason)})"
    return "bcc is there too"


def check_parser() -> list[Check]:
    from agent.sql.client import ParserClient
    from agent.sql.process import WorkerError

    try:
        with ParserClient() as parser:
            [shape] = parser.shapes([SAMPLE], [len(SAMPLE)])
    except WorkerError as error:
        what, _, remedy = str(error).partition("? Try: ")
        return [bad("parser", one_line(what), remedy or REINSTALL)]
    except OSError as error:
        sentence = f"the worker cannot be started: {error.strerror}: {sys.executable}"
        return [bad("parser", sentence, f"namei -l {sys.executable}  # let this account in")]
    if shape.status is not ParseStatus.PARSED or b"7" in shape.redacted_text.encode():
        return [
            bad(
                "parser",
                f"the worker starts, but answers {shape.status.value} to a plain SELECT",
                REINSTALL,
            )
        ]
    return [good("parser", "the worker starts in its sandbox, parses and redacts")]


def check_rules(config: Config) -> list[Check]:
    rules = config.agent.rules
    try:
        loaded = RuleSet.load(rules.packs or [DEFAULT_PACKS], rules.vars)
    except RuleError as error:
        remedy = "pgwarden rules check  # the agent does not start before they are mended"
        return [bad("rules", one_line(str(problem)), remedy) for problem in error.problems]
    origin = "of agent.rules.packs" if rules.packs else "that come with pgwarden"
    if not loaded.rules:
        return [warn("rules", f"none among those {origin}", "pgwarden rules list")]
    return [good("rules", f"{len(loaded.rules)} {origin}")]


def check_identities(config: Config) -> list[Check]:
    from agent.__main__ import identifier

    try:
        identifier(config.agent)
    except IdentityError as error:
        return [bad("identities", one_line(str(error)), "pgwarden config show  # identities")]
    count = len(config.agent.identities)
    return [good("identities", f"{count} configured" if count else "none configured: the built-in")]
