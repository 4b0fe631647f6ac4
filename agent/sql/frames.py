"""Length-prefixed frames between the agent and its parser worker."""

from __future__ import annotations

import struct

LENGTH = struct.Struct("<I")
MAX_FRAME_BYTES = 16 << 20


class FrameError(ValueError):
    """The other side sent what no well-behaved one would."""


def pack(payload: bytes) -> bytes:
    return LENGTH.pack(len(payload)) + payload


class Unpacker:
    """Bytes in, whole frames out, however they were cut on the way."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Frames complete by now; raises FrameError for a length beyond ``MAX_FRAME_BYTES``."""
        self._buffer += data
        frames = []
        at = 0
        while len(self._buffer) - at >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer, at)
            if length > MAX_FRAME_BYTES:
                raise FrameError(
                    f"a frame of {length} bytes: at most {MAX_FRAME_BYTES} are allowed"
                )
            end = at + LENGTH.size + length
            if len(self._buffer) < end:
                break
            frames.append(bytes(self._buffer[at + LENGTH.size : end]))
            at = end
        del self._buffer[:at]
        return frames
