"""Exported is not called: what compilers do to a function, and which ones are chosen for it."""

import ctypes
import os
import struct
import subprocess
from contextlib import ExitStack, contextmanager

import pytest
from elftools.elf.elffile import ELFFile

from agent.discovery import cluster_at
from agent.probes import kernel
from agent.probes.symbols import (
    ALL_PROBES,
    ENDBR64,
    TELLING_PROBES,
    ServerBinary,
    entry_at,
    symbol_table,
)
from agent.sources.canary import prove
from agent.sources.ebpf import EbpfSource
from tests.conformance.servers import MAJORS, Server, fetch

pytestmark = [pytest.mark.kernel, pytest.mark.live]
CALLS = 1000
HOOK = "int hook(int n) { return n * 3 + 1; }\n"
CALLER = """
int hook(int n);
int main(int argc, char **argv)
{
	unsigned sum = argc;
	for (int i = 0; i < 1000; i++)
		sum = hook(sum);
	return sum == 4711;
}
"""
NOT_CHOSEN = ("ProcessUtility", "ExecutorStart", "EndCommand")
"""Exported as well, and on a build with link-time optimisation never called."""


def built(folder, *flags):
    """Two files, one of which calls what the other exports."""
    for name, text in (("hook", HOOK), ("caller", CALLER)):
        (folder / f"{name}.c").write_text(text)
    made = folder / "made"
    subprocess.run(
        ["gcc", "-O2", "-fcf-protection=full", "-rdynamic", *flags, "-o", str(made)]
        + [str(folder / f"{name}.c") for name in ("hook", "caller")],
        check=True,
    )
    return made


@contextmanager
def counting(binary, offset):
    """How often that byte is executed on the first processor, by a probe without a program."""
    kernel_type = int(kernel.UPROBE_PMU.read_text())
    name = ctypes.create_string_buffer(os.fsencode(binary))
    head = struct.pack("<IIQQQQ", kernel_type, kernel.PERF_ATTR_BYTES, 0, 1, 0, 0)
    place = struct.pack("<QIIQQ", 0, 0, 0, ctypes.addressof(name), offset)
    attributes = ctypes.create_string_buffer((head + place).ljust(kernel.PERF_ATTR_BYTES, b"\0"))
    fd = ctypes.CDLL(None, use_errno=True).syscall(
        kernel.SYS_PERF_EVENT_OPEN, attributes, -1, 0, -1, 0
    )
    assert fd >= 0, os.strerror(ctypes.get_errno())
    try:
        yield lambda: struct.unpack("<Q", os.read(fd, 8))[0]
    finally:
        os.close(fd)


def entry_of(binary, function):
    with binary.open("rb") as file:
        elf = ELFFile(file)
        address = int(symbol_table(elf).get_symbol(function)["st_value"])
        entry = entry_at(elf, address)
        file.seek(entry.file_offset - len(ENDBR64))
        assert file.read(len(ENDBR64)) == ENDBR64
        return entry


def run_on_first_processor(program):
    subprocess.run([program], check=True, preexec_fn=lambda: os.sched_setaffinity(0, {0}))


@pytest.mark.parametrize(
    ("flags", "hits"),
    [((), CALLS), (("-flto",), 0), (("-flto", "-fno-inline", "-fno-ipa-icf"), CALLS)],
    ids=["plain", "lto", "lto without inlining"],
)
def test_link_time_optimisation_exports_a_function_that_nobody_calls(
    compiled_probes, tmp_path, flags, hits
):
    """The probe lies behind ``endbr64``, of a symbol that is there in each build."""
    program = built(tmp_path, *flags)
    with counting(program, entry_of(program, "hook").file_offset) as count:
        run_on_first_processor(program)
        assert count() == hits


@pytest.fixture(scope="module")
def fetched():
    fetch()


@pytest.mark.parametrize("major", MAJORS)
def test_every_chosen_function_is_called_by_each_server(libbpf, fetched, major):
    """Debian's build and those of another packager, with other compilers, seven versions."""
    with Server(major=major) as server, EbpfSource(loader=libbpf, nested=True) as source:
        source.add(cluster_at(server.postmaster_pid))
        proofs = dict(prove(source, lambda **words: server.connect(**words)))
        assert proofs == dict.fromkeys([*TELLING_PROBES.values(), "sched_process_exit"], True)
        (instance,) = source._instances
        assert instance.binary.build_id, "it can be named"


@pytest.mark.parametrize("major", [15, 16])
def test_what_the_servers_here_call(compiled_probes, fetched, major):
    """No server here is built with link-time optimisation: those not chosen are called as well.
    The day one is, this test fails and the others still hold."""
    with Server(major=major) as server, ExitStack() as stack:
        binary = ServerBinary.read(server.binary, major)
        with server.binary.open("rb") as file:
            elf = ELFFile(file)
            table = symbol_table(elf)
            offsets = {
                name: entry_at(elf, int(table.get_symbol(name)["st_value"])).file_offset
                for name in NOT_CHOSEN
            } | {
                function: binary.entry(program).file_offset
                for program, function in ALL_PROBES.items()
            }
        counts = {
            name: stack.enter_context(counting(server.binary, offset))
            for name, offset in offsets.items()
        }
        os.sched_setaffinity(server.postmaster_pid, {0})
        with server.connect() as connection:
            connection.execute("DO $$BEGIN EXECUTE 'SELECT 1'; EXECUTE 'UNLISTEN x'; END$$")
            connection.execute(
                "DO $$DECLARE c CURSOR FOR SELECT 1; x int; BEGIN OPEN c; FETCH c INTO x; END$$"
            )
            connection.execute("SET application_name = 'x'")
        silent = [name for name, count in counts.items() if not count()]
        assert silent == ["HandleFunctionRequest", "exec_replication_command"]
