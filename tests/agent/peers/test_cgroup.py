"""Units and containers by the cgroup names of systemd and the container runtimes."""

import pytest

from agent.peers.cgroup import container_of, unit_of

ID = "0123456789abcdef" * 4
SHORT = ID[:12]


@pytest.mark.parametrize(
    ("cgroup", "container"),
    [
        (f"0::/system.slice/docker-{ID}.scope", f"docker {SHORT}"),
        (f"12:pids:/docker/{ID}", f"docker {SHORT}"),
        (f"0::/kubepods.slice/kubepods-burstable.slice/x.slice/cri-containerd-{ID}.scope",
         f"containerd {SHORT}"),
        (f"0::/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{ID}",
         f"containerd {SHORT}"),
        (f"0::/kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope", f"cri-o {SHORT}"),
        (f"0::/machine.slice/libpod-{ID}.scope/container", f"podman {SHORT}"),
        (f"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
         f"podman {SHORT}"),
        (f"0::/kubepods/besteffort/pod1/{ID}", f"container {SHORT}"),
        (f"0::/{ID}", f"container {SHORT}"),
        ("0::/lxc.payload.web1/system.slice", "lxc web1"),
        ("0::/system.slice/postgresql.service", ""),
        ("0::/user.slice/user-1000.slice/session-4.scope", ""),
        (f"0::/system.slice/x-{ID}z.service", ""),
        ("", ""),
        ("nonsense", ""),
    ],
)  # fmt: skip
def test_the_container_is_named_by_runtime_and_short_id(cgroup, container):
    assert container_of(cgroup) == container


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/billing.service", "billing.service"),
        ("0::/system.slice/shop@1.service/worker", "shop@1.service"),
        ("0::/user.slice/user-1000.slice/session-4.scope", "session-4.scope"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-u7.service",
         "run-u7.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/init.scope", "init.scope"),
        ("4:memory:/x.service\n1:name=systemd:/system.slice/cron.service", "cron.service"),
        ("4:memory:/x.service", ""),
        ("0::/", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_the_innermost_unit_of_systemd_counts(cgroup, unit):
    assert unit_of(cgroup) == unit
