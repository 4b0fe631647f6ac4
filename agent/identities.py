"""What the configuration says about identities, made ready: rules, poolers, addresses, comments."""

from __future__ import annotations

from dataclasses import dataclass

from agent.identity import Claims, IdentityError, IdentityMap, IdentityRule, PoolerRule
from agent.peers.address_file import AddressFile
from config import AgentConfig


@dataclass(frozen=True, slots=True)
class Identities:
    map: IdentityMap
    """Who is behind a session."""
    claims: Claims
    """Whom a statement's comment names."""
    addresses: AddressFile


def identities(config: AgentConfig) -> Identities:
    """Raises IdentityError with everything that cannot be used."""
    rules = tuple(
        IdentityRule(**entry.model_dump(exclude_none=True)) for entry in config.identities
    )
    poolers = tuple(
        PoolerRule(**entry.model_dump(exclude_none=True)) for entry in config.identity.poolers
    )
    problems = []
    for attempt in (
        lambda: IdentityMap(rules),
        lambda: IdentityMap((), poolers),
        lambda: AddressFile(config.identity.address_map),
    ):
        try:
            attempt()
        except IdentityError as error:
            problems.append(str(error))
    if problems:
        raise IdentityError("; ".join(problems))
    addresses = AddressFile(config.identity.address_map)
    return Identities(
        IdentityMap(rules, poolers, addresses), Claims(config.identity.comment_keys), addresses
    )
