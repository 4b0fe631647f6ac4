"""What may be a secret, and what leaves the host instead: a short keyed hash, so that a change
shows."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from secrets import token_bytes

# Commands and connection strings often hold passwords: only whether they changed leaves the host.
SECRET_SETTING = re.compile(
    r"(conninfo|_command|passphrase|password|secret|token)$|^ssl_passphrase"
)
SECRET_WORD = re.compile(
    r"(passw(or)?d|passphrase|passwd|secret|token(?!s|iz|_(limit|count|type))|credential|api_?key|private_?key|bindpasswd"
    r"|radiussecrets)",
    re.I,
)
SECRET_VALUE = re.compile(
    r"""
      (passw(or)?d|passwd|pwd|passphrase|secret|token|api_?key)["']?\s*[=:]\s*\S
    | authorization["']?\s*[=:]\s*\S | \bbearer\s+[\w.~+/-]{8,} | \bbasic\s+[a-z0-9+/]{8,}
    | [a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@                   # a URL with a password
    | \b(?!(mailto|sips?|xmpp|acct|git|ssh):)[a-z_][\w.-]*:[^\s:@/]+@[\w.-]+   # user:password@host
    | //hooks\.slack\.com/services/\S | //discord(app)?\.com/api/webhooks/\S
    | //api\.telegram\.org/bot\S | \.webhook\.office\.com/\S
    | https?://\S*[/=?&](?=[a-z_]*\d)(?=\d*[a-z_])\w{24,}      # a URL that is a key by itself
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY
    | \beyJ[\w-]{8,}\.[\w-]{4,}                                 # a JSON web token
    | \b(AKIA|ASIA)[A-Z0-9]{16}\b
    | \b[spr]k[-_][\w-]{16,} | \bgh[pousr]_\w{20,} | \bxox[abprs]-\w | \bglpat-\w{16,}
    | \bAIza[\w-]{30,}
    | \bSCRAM-SHA-256\$ | \bmd5[0-9a-f]{32}\b | \$2[abxy]\$\d\d\$ | \$argon2
    """,
    re.I | re.X,
)
HARMLESS = frozenset(["password_encryption", "password_required", "md5_password_warnings"])
NO_COMMAND = re.compile(r"\(disabled\)|((/usr)?/bin/)?true|:|exit 0")
"""In place of a command it does nothing, and everybody should see that."""
CUSTOM_KEY = re.compile(r"\..*key$", re.I)
"""``pgcrypto.encryption_key``: settings with a dot are those of applications and extensions."""
SWITCH = frozenset(["on", "off", "true", "false", "yes", "no"])
UTF8 = ("utf-8", "surrogatepass")
_OF_THIS_PROCESS = token_bytes(32)
_key: ContextVar[bytes] = ContextVar("key", default=_OF_THIS_PROCESS)
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_WITH_KEY = re.compile(
    r"\b(pgp_(sym|pub)_\w+|(raw_)?(en|de)crypt(_iv)?|hmac|crypt|crypto_\w+|jwt_\w+|sign|verify)\s*\(",
    re.I,
)
"""Functions that take a key: of pgcrypto, pgsodium and pgjwt."""
_CALL_PART = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|[()]")
_BEFORE_SECRET = re.compile(
    rf"""{SECRET_WORD.pattern}[\w"]*\)?(::[\w ]+)?\s*(=|<>|~~|,|:=|=>)\s*\(?\Z""", re.I
)


def digest(name: str, value: str) -> str:
    """With the key, by its first letters: hashes under two keys cannot be compared.

    >>> digest("token", "abc") == digest("token", "abc") != digest("token", "abd")
    True
    """
    key = _key.get()
    return f"hidden {_hash(key, b'key')[:4]}-{_hash(key, f'{name}={value}'.encode(*UTF8))[:12]}"


def _hash(key: bytes, text: bytes) -> str:
    return hmac.new(key, text, hashlib.sha256).hexdigest()


@contextmanager
def keyed(key: bytes) -> Iterator[None]:
    """A short secret can be guessed from a hash without a key. ``key``: empty for one of this
    process, so that hashes are the same as long as it lives."""
    before = _key.set(key or _OF_THIS_PROCESS)
    try:
        yield
    finally:
        _key.reset(before)


def hidden(name: str, value: str) -> str:
    """The value of a setting, or a short hash where its name or the value look like a secret.

    >>> hidden("app.api_key", "abc")[:6], hidden("app.token_required", "on")
    ('hidden', 'on')
    >>> hidden("archive_command", "/bin/true"), hidden("archive_command", "cp %p /wal")[:6]
    ('/bin/true', 'hidden')
    """
    if not value or name.lower() in HARMLESS:
        return value
    if name.lower().endswith("_command") and NO_COMMAND.fullmatch(value.strip()):
        return value
    if SECRET_SETTING.search(name.lower()):
        return digest(name, value)
    called = SECRET_WORD.search(name) or CUSTOM_KEY.search(name)
    if (called and value.lower() not in SWITCH) or SECRET_VALUE.search(value):
        return digest(name, value)
    return value


def option(text: str) -> str:
    """``name=value`` of an option, its value hashed where name or value look like a secret.

    >>> option("host=db1"), option("password=x")[:15]
    ('host=db1', 'password=hidden')
    """
    name, equals, value = text.partition("=")
    if not equals or not value or name in HARMLESS:
        return text
    if SECRET_WORD.search(name) or SECRET_VALUE.search(value):
        return f"{name}={digest(name, value)}"
    return text


def line(key: str, text: str) -> str:
    """SQL of a definition with the literals hashed that look like secrets.

    >>> line("column token", "text default 'abc'::text")[:20]
    "text default 'hidden"
    >>> line("check", "(kind = 'token'::text)")
    "(kind = 'token'::text)"
    >>> line("text", "SELECT pgp_sym_decrypt(ssn, 'k'::text), 'x'")[:34]
    "SELECT pgp_sym_decrypt(ssn, 'hidde"
    """
    if "'" not in text:
        return text
    of_secret = SECRET_WORD.search(key) is not None
    calls = list(_calls_with_key(text))

    def replaced(found: re.Match[str]) -> str:
        value = found.group()[1:-1]
        before = text[max(0, found.start() - 60) : found.start()]
        taken = any(first < found.start() < last for first, last in calls)
        if value and (
            of_secret or taken or SECRET_VALUE.search(value) or _BEFORE_SECRET.search(before)
        ):
            return f"'{digest(key, value)}'"
        return found.group()

    return _LITERAL.sub(replaced, text)


def _calls_with_key(text: str) -> Iterator[tuple[int, int]]:
    """From the name to the closing parenthesis."""
    for call in _WITH_KEY.finditer(text):
        depth, last = 1, len(text)
        for part in _CALL_PART.finditer(text, call.end()):
            depth += {"(": 1, ")": -1}.get(part[0], 0)
            if not depth:
                last = part.end()
                break
        yield call.start(), last
