"""Addresses of pg_hba.conf as its file has them, and as the server shows them."""

from __future__ import annotations

import re
import socket

from collector.drift.baseline import HBA_ORDER, ORDER_SEPARATOR

_RULE = re.compile(r"(?P<head>host\w* .+?) (?P<address>\S+?)(?P<number> #\d+)?", re.DOTALL)
_TWO_WORDS = re.compile(r"(?P<head>host\w* .+) (?P<address>\S+)", re.DOTALL)


def as_shown(rule: str) -> str:
    """A rule by the name that a snapshot gives it. Keywords, names of hosts and rules that are no
    rules stay as they are; an address alone is one host.

    >>> as_shown("hostssl all all 10.0.0.0/8"), as_shown("host all all ::/0 #2")
    ('hostssl all all 10.0.0.0/255.0.0.0', 'host all all ::/:: #2')
    >>> as_shown("host all all 10.1.2.3 255.255.255.255"), as_shown("host all all samenet")
    ('host all all 10.1.2.3/255.255.255.255', 'host all all samenet')
    """
    read = _RULE.fullmatch(rule)
    if read is None:
        return rule
    head, address, mask = read["head"], *_divided(read["address"])
    before = _TWO_WORDS.fullmatch(head)
    if not mask and before and _packed(before["address"]) and _packed(address):
        head, address, mask = before["head"], before["address"], address
    shown = _shown(address, mask)
    return f"{head} {shown}{read['number'] or ''}" if shown else rule


def order_as_shown(name: str, value: str) -> str:
    """``value`` of the item ``name``, where that is the order of the rules."""
    if name != HBA_ORDER:
        return value
    return ORDER_SEPARATOR.join(as_shown(rule) for rule in value.split(ORDER_SEPARATOR))


def _divided(text: str) -> tuple[str, str]:
    address, _, mask = text.partition("/")
    return address, mask


def _shown(address: str, mask: str) -> str:
    """Empty: it is no address with a mask. Bits of the host stay, as the server keeps them."""
    packed = _packed(address)
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    bits = len(packed) * 8
    if not mask:
        other = _mask(bits, bits)
    elif mask.isascii() and mask.isdigit() and int(mask) <= bits:
        other = _mask(int(mask), bits)
    else:
        other = _packed(mask)
    if not packed or len(other) != len(packed):
        return ""
    return f"{socket.inet_ntop(family, packed)}/{socket.inet_ntop(family, other)}"


def _mask(length: int, bits: int) -> bytes:
    ones = (1 << bits) - (1 << (bits - length))
    return ones.to_bytes(bits // 8, "big")


def _packed(text: str) -> bytes:
    """The bytes of an address; none if it is not one."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
    return b""
