"""Ports, and who holds them: real sockets of real processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from comfy_supervisor.doctor import network
from comfy_supervisor.doctor.finding import Verdict

from .conftest import Machine, one

LISTEN = """\
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    print("listening", flush=True)
    sys.stdin.read()
"""


@contextmanager
def listener(port: int, **environment: str) -> Iterator[int]:
    """Have another process listen on a port; gives its pid."""
    command = [sys.executable, "-c", LISTEN, str(port)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **environment}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        yield process.pid
        process.communicate()


def test_free(box: Machine) -> None:
    found = one(network.taken_ports(box.meet()))
    assert (found.verdict, found.found) == (Verdict.OK, f"{box.port} on 127.0.0.1 is free")


def test_held_by_a_stranger(box: Machine) -> None:
    with listener(box.port) as pid:
        found = one(network.taken_ports(box.meet()))
    assert found.verdict is Verdict.PROBLEM
    assert f"port {box.port} is held by " in found.found
    assert f"(pid {pid}, user " in found.found
    assert "comfyui.port" in found.mend


def test_held_by_the_instance_itself(box: Machine) -> None:
    marks = {"COMFY_SUPERVISOR_INSTANCE": "cpu", "COMFY_SUPERVISOR_STATE": str(box.state / "cpu")}
    with listener(box.port, **marks):
        found = one(network.taken_ports(box.meet()))
        assert (found.verdict, found.found.endswith("which is comfyui")) == (Verdict.OK, True)


def test_held_by_another_instance_of_ours(box: Machine) -> None:
    """It is as much in the way as a stranger."""
    marks = {"COMFY_SUPERVISOR_INSTANCE": "gpu7", "COMFY_SUPERVISOR_STATE": str(box.state / "gpu7")}
    with listener(box.port, **marks):
        assert one(network.taken_ports(box.meet())).verdict is Verdict.PROBLEM


def test_every_address_is_looked_at(box: Machine) -> None:
    box.configure(comfyui__listen='"127.0.0.1,127.0.0.2"')
    with socket.create_server(("127.0.0.2", box.port)):
        verdicts = [one.verdict for one in network.taken_ports(box.meet())]
    assert verdicts == [Verdict.OK, Verdict.PROBLEM]


def test_address_that_this_machine_does_not_have(box: Machine) -> None:
    box.configure(comfyui__listen='"192.0.2.1"')
    found = one(network.taken_ports(box.meet()))
    assert found.verdict is Verdict.PROBLEM
    assert "192.0.2.1" in found.found


def test_without_a_plan_the_port_of_the_settings_is_looked_at(box: Machine) -> None:
    """Also then a ComfyUI of ours that runs is no stranger: its state folder is known."""
    box.configure(comfyui__user='"nobody-of-that-name"')
    (box.state / "gpu0").mkdir(parents=True)
    (box.state / "gpu0" / "starts.json").write_text("{}")
    patient = box.meet()
    assert patient.plan is None
    assert one(network.taken_ports(patient)).verdict is Verdict.OK
    marks = {"COMFY_SUPERVISOR_INSTANCE": "gpu0", "COMFY_SUPERVISOR_STATE": str(box.state / "gpu0")}
    with listener(box.port):
        assert one(network.taken_ports(patient)).verdict is Verdict.PROBLEM
    with listener(box.port, **marks):
        assert one(network.taken_ports(patient)).verdict is Verdict.OK
