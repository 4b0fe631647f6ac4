"""Why the process of a client was not found."""

from enum import StrEnum


class Missing(StrEnum):
    """The values are labels of a metric; ``SENTENCES`` are for people."""

    GONE = "gone"
    DENIED = "denied"
    ELSEWHERE = "elsewhere"
    UNOWNED = "unowned"
    LIMIT = "limit"
    UNTIMED = "untimed"


SENTENCES = {
    Missing.GONE: "its process ended before it was looked at",
    Missing.DENIED: "its process may not be looked at: the agent lacks CAP_SYS_PTRACE",
    Missing.ELSEWHERE: "no process of this host or of the server's network namespace",
    Missing.UNOWNED: "its socket belongs to no process that can be seen",
    Missing.LIMIT: "too many sockets to look through",
    Missing.UNTIMED: "the start of its backend is not known",
}


class PeerMissingError(Exception):
    def __init__(self, reason: Missing) -> None:
        super().__init__(SENTENCES[reason])
        self.reason = reason
