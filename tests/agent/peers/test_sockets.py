"""Peers of real sockets of this very process."""

import os
import socket
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.peers import diag, inet, tcp, unix
from agent.peers.owners import Owners, socket_inodes


@pytest.fixture(params=["127.0.0.1", "::1", "mapped"])
def tcp_pair(request):
    family = socket.AF_INET if request.param == "127.0.0.1" else socket.AF_INET6
    host = {"mapped": "::"}.get(request.param, request.param)
    with socket.socket(family) as listener:
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, request.param == "::1")
        listener.bind((host, 0))
        listener.listen()
        target = "127.0.0.1" if request.param == "mapped" else host
        with (
            socket.create_connection((target, listener.getsockname()[1])) as client,
            listener.accept()[0] as server,
        ):
            yield client, server


def end_of(sock):
    return tcp.client_end(*sock.getsockname()[:2])


def inode(sock):
    return os.fstat(sock.fileno()).st_ino


def by_table(sockets, client):
    return tcp.read_table(os.getpid()).other_side([inode(each) for each in sockets], client)


def by_asking(sockets, client):
    return inet.other_side(os.getpid(), [each.fileno() for each in sockets], client)


ways = pytest.mark.parametrize(
    "other_side",
    [
        by_table,
        pytest.param(
            by_asking, marks=pytest.mark.skipif(os.geteuid() != 0, reason="asks for sockets")
        ),
    ],
)


@ways
def test_the_other_end_of_a_tcp_connection_is_found_whatever_the_family(tcp_pair, other_side):
    client, server = tcp_pair
    assert other_side([server], end_of(client)) == inode(client)
    assert other_side([client], end_of(server)) == inode(server)
    assert other_side([], end_of(client)) == 0


@ways
def test_who_a_backend_connected_to_is_not_its_client(tcp_pair, other_side):
    """dblink opens connections from a backend: one to a local account proves nothing."""
    client, server = tcp_pair
    address, port = end_of(client)
    for other in (("192.0.2.7", port), (address, port ^ 1), tcp.client_end("db.example", port)):
        assert other_side([server], other) == 0


@ways
def test_without_a_port_only_one_connection_with_the_address_says_who_it_is(tcp_pair, other_side):
    client, server = tcp_pair
    address, _ = end_of(client)
    assert other_side([server], (address, 0)) == inode(client)
    assert other_side([server, client], (address, 0)) == 0


def test_who_listens_where_a_client_would_be_is_not_the_client(tcp_pair):
    """For ends without a connection, the kernel names the socket that would accept it."""
    _, server = tcp_pair
    with diag.open_link() as link:
        elsewhere = tcp.client_end("127.0.0.1" if ":" not in end_of(server)[0] else "::1", 9)
        assert inet.inode_of(link, end_of(server), elsewhere) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="asks for sockets")
def test_a_client_that_is_gone_and_one_that_never_was_of_this_host_have_no_socket(tcp_pair):
    client, server = tcp_pair
    end = end_of(client)
    client.close()
    assert by_asking([server], end) in (0, None)
    assert not by_table([server], end)


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:DB8:0::4d2", "2001:db8::4d2"),
        ("db.example", ""),
    ],
)
def test_a_client_is_looked_for_as_the_kernel_shows_it(told, shown):
    assert tcp.client_end(told, 5) == (shown, 5)


@pytest.fixture
def unix_pair(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            with listener.accept()[0] as server:
                yield client, server


def test_the_kernel_knows_who_connected_a_unix_socket(unix_pair):
    _, server = unix_pair
    if os.geteuid() != 0:
        pytest.skip("pidfd_getfd of any process needs CAP_SYS_PTRACE")
    assert unix.peer_pid(os.getpid(), [server.fileno()]) == os.getpid()
    with open(os.devnull) as no_socket, pytest.raises(OSError, match="Socket operation on non"):
        unix.peer_pid(os.getpid(), [no_socket.fileno()])


def test_unix_diag_tells_the_socket_at_the_other_end(unix_pair):
    client, server = unix_pair
    assert unix.peer_inode([inode(server)]) == inode(client)
    assert unix.peer_inode([1]) == 0


@given(st.binary(max_size=100), st.sampled_from([socket.AF_INET, socket.AF_INET6]))
def test_a_damaged_reply_about_tcp_never_fails(data, family):
    inet.parse_reply(data)
    good = struct.pack("=IHHII", len(data) + 18, 20, 0, 1, 0) + bytes([family, 1])
    inet.parse_reply(good + data)


@given(st.binary(max_size=200))
def test_a_damaged_reply_names_no_peer_or_some_number_but_never_fails(data):
    assert unix.parse_reply(data) >= 0
    good = struct.pack("=IHHII", len(data) + 32, 20, 0, 1, 0) + bytes(16)
    assert unix.parse_reply(good + data) >= 0


def test_the_owner_of_a_socket_is_found_and_remembered(unix_pair):
    client, _ = unix_pair
    owners = Owners()
    assert owners.find({inode(client)}) == {inode(client): os.getpid()}
    again = Owners(max_links=0)
    assert again.find({1}) == {}
    assert not again.complete
    assert owners.find({1}) == {}
    assert owners.complete
    assert inode(client) in socket_inodes(os.getpid())


def test_the_owner_may_be_another_process(unix_pair):
    client, server = unix_pair
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        pass_fds=[client.fileno()],
    )
    kept = inode(client)
    client.close()
    try:
        assert Owners().find({unix.peer_inode([inode(server)])}) == {kept: child.pid}
    finally:
        child.stdin.close()
        child.wait(10)


def test_an_address_of_the_kernels_table_is_read_in_the_machines_order():
    assert tcp.parse_end("0100007F:1538") == ("127.0.0.1", 5432)
    assert tcp.parse_end("0000000000000000FFFF00000100007F:0016") == ("127.0.0.1", 22)
    assert tcp.parse_end("B80D01200000000000000000D2040000:FFFF") == ("2001:db8::4d2", 65535)
