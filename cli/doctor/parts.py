"""What the agent brings along: a loader for its probes, the parser worker, the rules."""

from __future__ import annotations

import sys

from agent.configured_rules import load_rules
from agent.identity import IdentityError
from agent.probes.errors import CaptureUnavailable
from agent.probes.loader import open_loader
from agent.probes.ring import ring_size
from cli.doctor.bcc_trial import FEW_SESSIONS, SMALL_RING_BYTES, try_bcc
from cli.doctor.check import Check, bad, good, one_line, warn
from config import Config
from config.schema import Loader as Wanted
from model.statement import ParseStatus
from rules import RuleError

REASON_CHARACTERS = 200
"""libbpf and clang explain at length; the beginning says it."""
REINSTALL = "pip install --require-hashes -r requirements.lock"
SAMPLE = b"SELECT name FROM staff WHERE id = 7"


def check_loader(config: Config) -> list[Check]:
    """Loads the probes into the kernel, attached to nothing, and takes them out again."""
    capture = config.agent.capture
    if not capture.ebpf:
        return [good("loader", "not needed: agent.capture.ebpf is false")]
    wanted = capture.loader
    refusal = None if wanted is Wanted.BCC else _try_libbpf()
    if refusal is None and wanted is not Wanted.BCC:
        other = try_bcc("import")
        second = f"no bcc as a second one ({_reason(other)})" if other else "bcc is there too"
        return [
            good("loader", f"{wanted.value} takes libbpf; the kernel takes the probes; {second}")
        ]
    if refusal is not None and wanted is Wanted.LIBBPF:
        return [_no_loader(f"libbpf: {_reason(refusal)}", refusal)]
    bcc = try_bcc("load")
    if bcc is None:
        why = f" (libbpf: {_reason(refusal)})" if refusal else ""
        return [good("loader", f"{wanted.value} takes bcc; the kernel takes the probes{why}")]
    if refusal is None:
        return [_no_loader(f"bcc: {_reason(bcc)}", bcc)]
    return [_no_loader(f"libbpf: {_reason(refusal)}; bcc: {_reason(bcc)}", refusal)]


def _try_libbpf() -> CaptureUnavailable | None:
    try:
        loader = open_loader("libbpf")
        loader.unload(loader.load(ring_size(SMALL_RING_BYTES), FEW_SESSIONS))
    except CaptureUnavailable as error:
        return error
    return None


def _no_loader(sentence: str, error: CaptureUnavailable) -> Check:
    remedy = error.remedy or "set agent.capture.ebpf: false"
    return bad("loader", f"{sentence}; the pgaudit log alone remains", remedy)


def _reason(error: CaptureUnavailable) -> str:
    return one_line(error.reason)[:REASON_CHARACTERS]


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
        loaded = load_rules(rules)
    except RuleError as error:
        remedy = "pgwarden rules check  # the agent does not start before they are mended"
        return [bad("rules", one_line(str(problem)), remedy) for problem in error.problems]
    origin = "of agent.rules.packs" if rules.packs else "that come with pgwarden"
    if not loaded.rules:
        return [warn("rules", f"none among those {origin}", "pgwarden rules list")]
    return [good("rules", f"{len(loaded.rules)} {origin}")]


def check_identities(config: Config) -> list[Check]:
    from agent.identities import identities

    try:
        identities(config.agent)
    except IdentityError as error:
        return [bad("identities", one_line(str(error)), "pgwarden config show  # identities")]
    count = len(config.agent.identities)
    return [good("identities", f"{count} configured" if count else "none configured: the built-in")]
