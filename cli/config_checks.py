"""What the programs would refuse, asked of their own functions; nothing is started or bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import psycopg

from agent import certificates
from agent.channel import AddressError, check_address, unreadable
from agent.configured_rules import load_rules
from agent.connecting import conninfo
from agent.identities import identities
from agent.identity import IdentityError
from collector import server
from collector.alerts import alert_problems
from collector.maintenance import MaintenanceError, mutes
from collector.responding import RespondError, compiled
from config import AgentConfig, CollectorConfig, Config
from config.schema import TlsFiles
from rules import RuleError
from rules.bundle import BundleError, public_key


def problems_of(config: Config) -> list[str]:
    """Every problem, one sentence each, with the place in the configuration before it."""
    return [*_of_agent(config.agent), *_of_collector(config.collector)]


def _of_agent(config: AgentConfig) -> Iterator[str]:
    try:
        load_rules(config.rules)
    except RuleError as error:
        yield from (f"agent.rules: {problem}" for problem in error.problems)
    if config.rules.central is not None:
        key_file = config.rules.central.public_key
        yield from _refusal(
            "agent.rules.central.public_key",
            lambda: public_key(key_file.read_bytes()),
            (BundleError, OSError),
        )
    yield from _refusal("agent.identities", partial(identities, config), IdentityError)
    yield from _refusal(
        "agent.collector", partial(check_address, config.collector, config.tls), AddressError
    )
    if config.tls is not None and not config.collector.startswith("unix:"):
        yield from (f"agent.tls: {problem}" for problem in _of_certificate(config.tls))
    for number, access in enumerate(config.clusters):
        if access.dsn is not None:
            dsn = access.dsn.get_secret_value()
            yield from _refusal(
                f"agent.clusters.{number}.dsn", partial(conninfo, dsn, {}), psycopg.Error
            )


def _of_certificate(tls: TlsFiles) -> list[str]:
    found = unreadable(tls)
    return found or [each for each in [certificates.problem(tls)] if each]


def _of_collector(config: CollectorConfig) -> Iterator[str]:
    for address in config.listen:
        yield from _refusal(
            "collector.listen",
            partial(server.check_address, address, config.tls),
            server.ListenError,
        )
    tls = config.tls
    if tls is not None and not all(address.startswith("unix:") for address in config.listen):
        yield from _refusal(
            "collector.tls", partial(server.check_certificates, tls), server.ListenError
        )
    analytics = config.analytics
    yield from _refusal(
        "collector.analytics.maintenance", partial(mutes, analytics.maintenance), MaintenanceError
    )
    yield from _refusal(
        "collector.analytics.respond", partial(compiled, analytics.respond), RespondError
    )
    yield from (f"collector.alerts: {problem}" for problem in alert_problems(config.alerts))


def _refusal(
    place: str,
    attempt: Callable[[], object],
    refuses: type[Exception] | tuple[type[Exception], ...],
) -> Iterator[str]:
    try:
        attempt()
    except refuses as error:
        yield f"{place}: {error}"
