"""500 texts that somebody who can connect might put into names, SQL and errors."""

import random

_SEEDS = (
    "line one\nALERT resolved: all is well",
    "\r\nX-Injected: yes\r\n\r\n",
    "\x1b[2J\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "\x00nul\x00",
    "\u202eevil\u202c \u2066x\u2069",
    "zero\u200bwidth\ufeff",
    "\ud800 lone surrogate \udfff",
    "\u2028\u2029 separators \x85 next line",
    '{"event_action":"resolve"}',
    '","severity":"info","x":"',
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "<!channel> <@U123> <http://evil|click>",
    '{{ .CommonLabels }}{{ template "x" }} ${jndi:ldap://x} %s%n $(id) `id`',
    "'; DROP TABLE alerts; --",
    "A" * 5000,
    "\U0001f600" * 600,
    "\x7f\x9b31m",
    "../../etc/passwd\x00.json",
    "=cmd|' /C calc'!A0",
    "",
)


def payloads(count: int = 500, seed: int = 7) -> list[str]:
    """The seeds, then random mixtures of their pieces; the same for the same ``seed``."""
    chance = random.Random(seed)
    mixed = []
    while len(_SEEDS) + len(mixed) < count:
        first, second = chance.choice(_SEEDS), chance.choice(_SEEDS)
        cut = chance.randrange(len(first) + 1)
        noise = "".join(
            chr(chance.choice([chance.randrange(0x20), chance.randrange(0x80, 0x110000)]))
            for _ in range(5)
        )
        mixed.append(first[:cut] + noise + second)
    return [*_SEEDS, *mixed]
