"""``/proc/PID/cgroup`` to the unit of systemd and the container that it tells of. Pure."""

from __future__ import annotations

import re

SHORT_ID = 12
_ID = r"([0-9a-f]{64})"
_CONTAINERS = (
    ("docker", re.compile(rf"docker[-/]{_ID}")),
    ("cri-o", re.compile(rf"crio-(?:conmon-)?{_ID}")),
    ("podman", re.compile(rf"libpod-(?:conmon-)?{_ID}")),
    ("containerd", re.compile(rf"cri-containerd[-:]{_ID}")),
    ("lxc", re.compile(r"lxc(?:\.payload\.|/)([\w.-]+)")),
    ("container", re.compile(rf"kubepods\S*/{_ID}")),
    ("container", re.compile(rf"(?:^|[/:-]){_ID}(?:\.scope)?(?:/|$)")),
)
"""The names that runtimes give to cgroups, under both of systemd's and cgroupfs's drivers."""
_UNIT = re.compile(r"^[\w:@.\\-]+\.(?:service|scope)$")
_MANAGERS = re.compile(r"^(?:user@\d+\.service|init\.scope)$")


def container_of(cgroup: str) -> str:
    """``docker 0123456789ab``; empty outside of containers."""
    for line in cgroup.splitlines():
        path = line.split(":", 2)[-1]
        for runtime, pattern in _CONTAINERS:
            if found := pattern.search(path):
                return f"{runtime} {found[1][:SHORT_ID]}"
    return ""


def unit_of(cgroup: str) -> str:
    """The innermost unit of systemd, ``billing.service``; empty where there is none.

    The unified hierarchy (``0::``) and systemd's own (``name=systemd``) tell; others do not.
    """
    for line in cgroup.splitlines():
        number, controllers, path = (*line.split(":", 2), "", "")[:3]
        if number == "0" or controllers == "name=systemd":
            units = [part for part in path.split("/") if _UNIT.match(part)]
            inner = [unit for unit in units if not _MANAGERS.match(unit)]
            if inner or units:
                return (inner or units)[-1]
    return ""
