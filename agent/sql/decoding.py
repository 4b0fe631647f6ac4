"""Bytes of a server's own encoding to text. Pure.

Nobody tells what encoding a text or a name is in: it is the database's. So what is valid UTF-8 is
read as that, and every other byte as the letter that LATIN1 has there. Names of a LATIN1 database
come out as they were written; of others different names stay different, which a sign that stands
for every unreadable byte would make equal, for rules as well.
"""

from __future__ import annotations

ASCII = bytes(range(0x80))


def decoded(text: bytes) -> str:
    """Server encodings never use ASCII bytes for anything else, and the server's lexer takes every
    other byte for a letter, as it does what stands here for it: what is a word, a string, a comment
    stays the same.

    >>> decoded(b"caf\\xe9"), decoded("café".encode())
    ('café', 'café')
    """
    try:
        return text.decode()
    except UnicodeDecodeError:
        return _decoded_by_letters(text)


def _decoded_by_letters(text: bytes) -> str:
    """Python decodes a byte that is no UTF-8 to U+DC00 and the byte: the first half has to go.

    One letter after the other, of which there are 128, and nothing is done for each place: somebody
    who is held waits, and it may be a megabyte that somebody sent to make it last.
    """
    letters = text.decode("utf-8", "surrogateescape")
    for byte in set(text.translate(None, ASCII)):
        letters = letters.replace(chr(0xDC00 + byte), chr(byte))
    return letters
