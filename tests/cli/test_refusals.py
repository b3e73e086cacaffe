"""Who holds ComfyUI's port: a stranger is refused at once, who is being ended is waited for."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_supervisor.cli import refusals
from comfy_supervisor.errors import UserError
from comfy_supervisor.launch import orphans, ports
from tests.support import free_port, running, wait_until

LARGE = """\
import socket, sys, time
memory = bytearray(1 << 28)
memory[::4096] = b"x" * len(memory[::4096])
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    print(flush=True)
    time.sleep(1000)
"""
"""What takes a while to free its memory, and listens until then."""


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def large(port: int) -> Iterator[subprocess.Popen[bytes]]:
    with running(LARGE, {}, str(port)) as process:
        yield process


def test_a_stranger_is_refused(large: subprocess.Popen[bytes], port: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"comfyui: port {port} is held by .* \(pid {large.pid}, .* stop that, or"):
        refusals.taken_ports({"comfyui": f"127.0.0.1:{port}"}, tmp_path)


def test_who_was_killed_is_waited_for(large: subprocess.Popen[bytes], port: int, tmp_path: Path) -> None:
    """Its environment can't be read any more, which would tell that it is one of ours."""
    large.send_signal(signal.SIGKILL)
    wait_until(lambda: orphans.is_ending(large.pid))
    refusals.taken_ports({"comfyui": f"127.0.0.1:{port}"}, tmp_path)
    assert not ports.trouble("127.0.0.1", port)


def test_who_was_killed_is_waited_for_where_only_root_could_tell_who_that_is(
    large: subprocess.Popen[bytes], port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel shows the descriptors of a process that has let go of its memory to root alone."""
    monkeypatch.setattr(refusals, "_POLL", 0.005)  # often, while the kernel works
    monkeypatch.setattr(ports, "_owner", lambda _: 0)
    large.send_signal(signal.SIGKILL)
    wait_until(lambda: orphans.is_ending(large.pid))
    refusals.taken_ports({"comfyui": f"127.0.0.1:{port}"}, tmp_path)
    assert not ports.trouble("127.0.0.1", port)


def test_nobody_ends_who_has_ended() -> None:
    """A zombie holds nothing."""
    with subprocess.Popen([sys.executable, "-c", ""]) as zombie:
        wait_until(lambda: orphans.is_ending(zombie.pid))
        wait_until(lambda: not orphans.are_ending())


def test_beside_one_that_ends_only_the_stranger_is_named(
    large: subprocess.Popen[bytes], port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "is_ending", lambda pid: pid == large.pid)
    with socket.create_server(("127.0.0.1", 0)) as mine:
        wanted = {"ends": f"127.0.0.1:{port}", "stays": f"127.0.0.1:{mine.getsockname()[1]}"}
        with pytest.raises(UserError) as refused:
            refusals.taken_ports(wanted, tmp_path)
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == ["stays"]


def test_who_never_ends_is_not_waited_for_for_ever(
    large: subprocess.Popen[bytes], port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that hangs in a driver."""
    monkeypatch.setattr(refusals, "DYING", 0.3)
    monkeypatch.setattr(orphans, "is_ending", lambda _: True)
    began = time.monotonic()
    with pytest.raises(UserError, match=re.escape(f"(pid {large.pid}, ")):
        refusals.taken_ports({"comfyui": f"127.0.0.1:{port}"}, tmp_path)
    assert time.monotonic() - began >= 0.3
