"""Follows the rule files and exchanges the rules in force as a whole, or not at all.

A set that cannot be used changes nothing: what was in force stays, and that is told in the log, the
status, the metrics and the record until the files are good again.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from agent.configured_rules import load_rules
from agent.rulebook.central import Central
from agent.rulebook.editions import Edition, Rulebook
from agent.rulebook.files import Contents, UnstableError, load, look, sentences, summary
from agent.rulebook.hints import FileHints
from model.rules_change import ChangeOutcome, ChangeSource, RulesChange
from rules import DEFAULT_PACKS, History, Judge, RuleError, Usage
from rules.bundle import Bundle, BundleError, Sealed

if TYPE_CHECKING:
    from agent.capture import Capture
    from agent.directory import Directory
    from agent.guard.allowances import Allowances
    from agent.pipeline import Pipeline
    from agent.recorder import Recorder
    from config.schema import Rules

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0
"""How often the files are read where no notification comes."""
SETTLE_SECONDS = 0.4
"""Editors write in parts: files count once they have not changed for so long."""
UNSETTLED_SECONDS = 30.0
"""Files that change without end are a problem too."""
LOGGED = 20
JUDGED = 5_000
"""Judgements that an edition remembers."""


class RuleService:
    """``book`` is what judges. Raises RuleError where there are no good rules to begin with, and
    BundleError where the public key of central rules cannot be used."""

    def __init__(self, settings: Rules, state_dir: Path) -> None:
        self.usage = Usage()
        """Of limits: it outlives the rules, and so does what shapes have brought."""
        history = History()
        self._settings: Mapping[str, object] = settings.model_dump(
            mode="json", exclude={"packs", "central"}
        )
        self._make = lambda files: Judge(load_rules(settings, files), JUDGED, self.usage, history)
        self._packs = settings.packs
        self._central: Central | None = None
        self._required = False
        self._central_broken: tuple[str, ...] = ()
        if settings.central is not None:
            self._central = Central(settings.central.public_key, state_dir)
            self._required = settings.central.required
            self._central_broken = (self._central.problem,) if self._central.problem else ()
        self._offered: queue.SimpleQueue[Sealed] = queue.SimpleQueue()
        self._pending: Sealed | None = None
        self._refused_bundle = ""
        self._unusable: Contents | None = None
        """A pending bundle together with local files that are broken without it as well."""
        self._seen, first = self._first()
        self.book = Rulebook(first)
        self.loaded_at_seconds = time.time()
        self._refused = ""
        """Digest of the files that could not be used last."""
        self._broken: tuple[str, ...] = ()
        self._hints: queue.SimpleQueue[ChangeSource] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rules", daemon=True)
        self._capture: Capture | None = None
        self._allowances: Allowances | None = None
        self._directory: Directory | None = None
        self._recorder: Recorder | None = None
        self._pipeline: Pipeline | None = None
        self._on_exchange: Callable[[], None] = lambda: None

    def start(
        self,
        capture: Capture | None,
        allowances: Allowances | None,
        directory: Directory,
        recorder: Recorder,
        pipeline: Pipeline,
        on_exchange: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_exchange`` is called on the thread that reads the probes, before other rules are
        said to be in force."""
        self._on_exchange = on_exchange
        self._capture, self._allowances = capture, allowances
        self._directory, self._recorder, self._pipeline = directory, recorder, pipeline
        self._tell(_in_force(self.book.edition, ChangeSource.START, "", _now_us()))
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Never waits."""
        self._stop.set()
        self._hints.put(ChangeSource.FILES)

    def stop(self, timeout_seconds: float = 5.0) -> None:
        self.ask_to_stop()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def reload(self) -> None:
        """Look now. Safe in a signal handler."""
        self._hints.put(ChangeSource.SIGNAL)

    @property
    def digest(self) -> str:
        return self.book.edition.digest

    @property
    def version(self) -> int:
        return self.book.edition.version

    def broken(self) -> Mapping[str, bool]:
        found = {"files": bool(self._broken)}
        if self._central is not None:
            found["central"] = bool(self._central_broken or self.missing())
        return found

    def problems(self) -> list[str]:
        found = self.missing()
        if self._broken:
            what = summary(self._broken)
            found.append(f"the rule files cannot be used, the rules in force stay: {what}")
        if self._central_broken:
            what = summary(self._central_broken)
            found.append(f"the central rules are not used, the rules in force stay: {what}")
        return found

    def missing(self) -> list[str]:
        """Why this agent is not ready: the rules that it must have are not there."""
        if not self._required or self._central is None or self._central.bundle is not None:
            return []
        return ["agent.rules.central.required: no central rules have come yet"]

    def offer(self, sealed: Sealed) -> None:
        """Central rules have come; from any thread."""
        if self._central is None:
            log.info("rules.central_ignored", reason="agent.rules.central is not configured")
            return
        self._offered.put(sealed)
        self._hints.put(ChangeSource.CENTRAL)

    def _run(self) -> None:
        hints = FileHints(
            self._packs or [DEFAULT_PACKS], lambda: self._hints.put(ChangeSource.FILES)
        )
        try:
            while not self._stop.is_set():
                source = self._hint()
                try:
                    self._take_offered()
                    self._consider(source)
                except Exception as error:  # noqa: BLE001 - the rules in force stay
                    self._refuse((f"{type(error).__name__}: {error}",), "", source)
                    self._seen = self._look()
        finally:
            hints.close()

    def _hint(self) -> ChangeSource:
        """Why to look: a signal comes before what the file system says."""
        found = ChangeSource.FILES
        try:
            found = self._hints.get(timeout=LOOK_SECONDS)
            while True:
                found = max(found, self._hints.get_nowait())
        except queue.Empty:
            return found

    def _consider(self, source: ChangeSource) -> None:
        signalled = source is ChangeSource.SIGNAL
        source = source if signalled else ChangeSource.FILES
        if self._look() == self._seen and not signalled:
            return
        contents = self._settled(self._look)
        if self._stop.is_set():
            return
        if contents.digest == self.book.edition.digest:
            self._good(contents)
            if signalled:
                log.info("rules.unchanged", digest=contents.digest[:12])
            return
        if contents.digest == self._refused and not signalled:
            self._seen = contents
            return
        try:
            edition = load(contents, self._settings, self._make, self._version)
        except UnstableError:
            self._hints.put(source)
            return
        except RuleError as error:
            self._refuse(sentences(error), contents.digest, source)
            self._seen = contents
            return
        self._good(contents)
        self._exchange(edition, source)

    def _first(self) -> tuple[Contents, Edition]:
        while True:
            try:
                contents = self._look()
                return contents, load(contents, self._settings, self._make, self._version)
            except UnstableError:
                time.sleep(SETTLE_SECONDS)

    def _look(self) -> Contents:
        return self._contents(self._central.bundle if self._central else None)

    def _contents(self, bundle: Bundle | None) -> Contents:
        """Central rules and local files together; central ones take the place of our own packs."""
        central = self._central.unpacked(bundle) if self._central else []
        local = self._packs or ([] if central else [DEFAULT_PACKS])
        return look([*central, *local], self._settings)

    @property
    def _version(self) -> int:
        return self._central.version if self._central else 0

    def _take_offered(self) -> None:
        """The bundle that was offered last: if it is to be believed, its time has come and its
        rules are good, it is in force. It stays pending until its time, and until the local files
        beside it are whole."""
        while not self._offered.empty():
            self._pending = self._offered.get_nowait()
        sealed, central = self._pending, self._central
        if sealed is None or central is None:
            return
        loaded = None
        try:
            bundle = central.verified(sealed)
            if bundle.not_before > time.time():
                return
            if bundle != central.bundle:
                if (loaded := self._beside_local(bundle)) is None:
                    return
                central.keep(sealed, bundle)
        except UnstableError:
            return
        except (BundleError, RuleError, OSError) as error:
            told = sentences(error) if isinstance(error, RuleError) else (str(error),)
            self._refuse_bundle(sealed, told)
            return
        self._pending, self._central_broken, self._refused_bundle = None, (), ""
        self._unusable = None
        if loaded is not None:
            self._good(loaded[0])
            self._exchange(loaded[1], ChangeSource.CENTRAL)

    def _beside_local(self, bundle: Bundle) -> tuple[Contents, Edition] | None:
        """Its rules with those of the local files; None while these are broken by themselves, which
        is no fault of the bundle. Raises RuleError where it is, UnstableError and OSError."""
        contents = self._settled(lambda: self._contents(bundle))
        if contents == self._unusable:
            return None
        try:
            return contents, load(contents, self._settings, self._make, bundle.version)
        except RuleError as error:
            try:
                load(self._look(), self._settings, self._make, self._version)
            except RuleError:
                self._unusable = contents
                self._central_broken = (f"they wait for the files here: {sentences(error)[0]}",)
                return None
            raise

    def _settled(self, look: Callable[[], Contents]) -> Contents:
        """The files once they have stopped changing."""
        contents, began = look(), time.monotonic()
        while True:
            time.sleep(SETTLE_SECONDS)
            again = look()
            if again == contents:
                return again
            contents = again
            if time.monotonic() - began > UNSETTLED_SECONDS:
                raise UnstableError("the rule files keep changing")

    def _good(self, contents: Contents) -> None:
        if self._broken:
            log.info("rules.mended", digest=contents.digest[:12])
        self._seen, self._refused, self._broken = contents, "", ()

    def _refuse(self, problems: tuple[str, ...], digest: str, source: ChangeSource) -> None:
        self._broken, self._refused = problems, digest
        self._record_refusal(problems, digest, source)

    def _refuse_bundle(self, sealed: Sealed, problems: tuple[str, ...]) -> None:
        """Told once, however often the collector sends it."""
        self._pending, self._central_broken = None, problems
        if sealed.digest != self._refused_bundle:
            self._refused_bundle = sealed.digest
            self._record_refusal(problems, sealed.digest, ChangeSource.CENTRAL)

    def _record_refusal(self, problems: tuple[str, ...], digest: str, source: ChangeSource) -> None:
        for problem in problems[:LOGGED]:
            log.error("rules.broken", problem=problem, source=source.value, remedy="pgwarden rules")
        edition = self.book.edition
        self._tell(
            RulesChange(
                at_us=_now_us(),
                outcome=ChangeOutcome.REFUSED,
                source=source,
                digest=digest,
                previous=edition.digest,
                rules=edition.rules,
                version=edition.version,
                problem=summary(problems),
            )
        )

    def _exchange(self, edition: Edition, source: ChangeSource) -> None:
        """The new judge first, then the kernel forgets what the old one let pass. The thread that
        settles holds and writes allowances does the second, so none that it writes afterwards can
        come from the old judge."""
        previous = self.book.edition.digest
        self.book.put(edition)
        self.loaded_at_seconds = time.time()

        def forget() -> None:
            if self._allowances is not None and self._directory is not None:
                self._allowances.reset()
                self._directory.refresh()
            self._on_exchange()  # it may take a while
            at_us = _now_us()
            self.book.confirm(edition, at_us)
            self._tell(_in_force(edition, source, previous, at_us))
            log.info(
                "rules.in_force",
                digest=edition.digest[:12],
                previous=previous[:12],
                rules=edition.rules,
                source=source.value,
            )

        if self._capture is not None:
            self._capture.run_soon(forget)
        else:
            forget()

    def _tell(self, change: RulesChange) -> None:
        pipeline = self._pipeline
        if self._recorder is not None and pipeline is not None:
            self._recorder.run_soon(lambda: pipeline.add_rules_change(change))


def _in_force(edition: Edition, source: ChangeSource, previous: str, at_us: int) -> RulesChange:
    return RulesChange(
        at_us=at_us,
        outcome=ChangeOutcome.IN_FORCE,
        source=source,
        digest=edition.digest,
        previous=previous,
        rules=edition.rules,
        version=edition.version,
    )


def _now_us() -> int:
    return time.time_ns() // 1000
