"""Who is behind a session and behind a statement: evidence to clues to an Identity. Pure."""

from agent.identity.addresses import AddressMap, read_address_map
from agent.identity.claims import Claims
from agent.identity.map import IdentityMap
from agent.identity.rules import IdentityError, IdentityRule, PoolerRule

__all__ = [
    "AddressMap",
    "Claims",
    "IdentityError",
    "IdentityMap",
    "IdentityRule",
    "PoolerRule",
    "read_address_map",
]
