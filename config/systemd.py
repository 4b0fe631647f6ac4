"""What systemd wants to hear from a service of type notify. Nothing happens without systemd."""

import os
import socket


def notify(
    *, ready: bool = False, stopping: bool = False, alive: bool = False, status: str = ""
) -> bool:
    """True when a message was handed to systemd.

    ``alive`` feeds the watchdog; send it from the loop whose death must be noticed.
    """
    lines = [
        *(["READY=1"] if ready else []),
        *(["STOPPING=1"] if stopping else []),
        *(["WATCHDOG=1"] if alive else []),
        *([f"STATUS={' '.join(status.split())}"] if status else []),
    ]
    return _send("\n".join(lines)) if lines else False


def watchdog_seconds() -> float:
    """How often ``notify(alive=True)`` is due: half of WatchdogSec, 0 when there is none."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    meant_for = os.environ.get("WATCHDOG_PID", "")
    if not usec.isdigit() or (meant_for and meant_for != str(os.getpid())):
        return 0.0
    return int(usec) / 1_000_000 / 2


def _send(message: str) -> bool:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            # Never waits: a full queue loses one heartbeat, a blocked loop would lose the service.
            sock.setblocking(False)
            sock.sendto(message.encode(), address)
    except OSError:
        return False
    return True
