"""A port is free or not as asyncio would find it, and its holder has a name."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from comfy_supervisor.launch import ports
from tests.support import wait_until

ME = f"{Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()}, user {getpass.getuser()})"


def listening(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, 0), family=family)


def port_of(server: socket.socket) -> int:
    port: int = server.getsockname()[1]
    return port


def test_addresses_are_read_from_a_text() -> None:
    assert ports.addresses("127.0.0.1:8188, [::1]:8189,comfy.local:1") == [
        ("127.0.0.1", 8188),
        ("::1", 8189),
        ("comfy.local", 1),
    ]


@pytest.mark.parametrize("text", ["8188", ":8188", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "a:b"])
def test_addresses_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"HOST:PORT|invalid literal"):
        ports.addresses(text)


@pytest.mark.parametrize("held", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_the_holder_of_a_taken_port_is_named(held: str) -> None:
    with listening(held) as server:
        assert ports.trouble(held, port_of(server)) == f"port {port_of(server)} is held by {ME}"


def test_a_terminal_does_not_obey_the_name_of_a_holder() -> None:
    code = (
        "import socket; server = socket.create_server(('127.0.0.1', 0))\n"
        "open('/proc/self/comm', 'w').write('a\\x1b[2J\\nb\\x9bm')\n"
        "print(server.getsockname()[1], flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        said = ports.trouble("127.0.0.1", int(holder.stdout.readline()))
        holder.communicate(b"\n")
    assert said.isprintable()
    assert f" is held by a [2J b m (pid {holder.pid}, " in said


def test_a_port_held_on_all_addresses_is_taken_on_each() -> None:
    with listening("0.0.0.0") as server:
        assert ports.trouble("127.0.0.1", port_of(server)).endswith(ME)
        assert ports.trouble("localhost", port_of(server)).endswith(ME)


def test_a_port_held_on_another_address_is_free() -> None:
    with listening("127.0.0.2") as server:
        assert ports.trouble("127.0.0.1", port_of(server)) == ""


def test_one_protocol_does_not_hold_the_port_of_the_other() -> None:
    """ComfyUI listens on 0.0.0.0 and on :: side by side."""
    with listening("0.0.0.0") as server:
        assert ports.trouble("::", port_of(server)) == ""


def test_a_port_is_free_again_at_once_after_connections() -> None:
    """Sockets in TIME_WAIT are no reason to wait, as they are none for ComfyUI."""
    with listening("127.0.0.1") as server:
        port = port_of(server)
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()
        client.close()
    assert ports.trouble("127.0.0.1", port) == ""


def test_the_right_one_of_two_holders_is_named() -> None:
    with listening("127.0.0.2") as server:
        port = port_of(server)
        code = f"import socket; s = socket.create_server(('127.0.0.1', {port})); print(flush=True); input()"
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout
            other.stdout.readline()
            assert f"(pid {other.pid}, " in ports.trouble("127.0.0.1", port)
            assert ports.trouble("127.0.0.2", port).endswith(ME)
            other.communicate(b"\n")
        assert ports.trouble("127.0.0.1", port) == ""


def test_a_holder_that_closes_other_files_meanwhile_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = os.listdir

    def closed_since(folder: str) -> list[str]:
        names = seen(folder)
        return ["987654321", *names] if folder.endswith("/fd") else names

    monkeypatch.setattr(os, "listdir", closed_since)
    with listening("127.0.0.1") as server:
        assert ports.trouble("127.0.0.1", port_of(server)).endswith(ME)


def test_a_holder_that_changes_is_named_anew() -> None:
    with listening("127.0.0.1") as server:
        port = port_of(server)
        assert ports.trouble("127.0.0.1", port).endswith(ME)
        code = "import sys; print(flush=True); input()"
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[server.fileno()]
        )
        assert process.stdout
        process.stdout.readline()
        assert ports.trouble("127.0.0.1", port).endswith(ME)  # still, though another one has it, too
    wait_until(lambda: f"(pid {process.pid}, " in ports.trouble("127.0.0.1", port))
    process.communicate(b"\n")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_holder_that_may_not_be_looked_at_is_told_by_its_user() -> None:
    code = (
        "import os, sys; from comfy_supervisor.launch import ports; import pwd; os.setuid(65534)\n"
        "print(ports.trouble('127.0.0.1', int(sys.argv[1])))"
    )
    with listening("127.0.0.1") as server:
        port = port_of(server)
        done = subprocess.run([sys.executable, "-c", code, str(port)], capture_output=True, text=True, check=True)
    assert done.stdout == f"port {port} is held by a process of another user or container (user root)\n"


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("192.0.2.1", "nobody can listen on 192.0.2.1 port 8188: Cannot assign requested address"),
        ("no.such.host.invalid", "the address no.such.host.invalid can't be resolved: "),
        ("a..b", "the address a..b can't be resolved: "),
        ("ü..b", "the address ü..b can't be resolved: "),
    ],
)
def test_addresses_that_this_machine_does_not_have_are_told(host: str, text: str) -> None:
    assert ports.trouble(host, 8188).startswith(text)
