"""The event listener protocol: what supervisord hears, and what it never hears."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from comfy_supervisor.health import protocol
from comfy_supervisor.health.protocol import Event
from tests.supervisord import Supervisord
from tests.support import wait_until

_LISTENER = """\
import os, sys
from comfy_supervisor.health import protocol
channel = protocol.take_output()
print("a library prints")
os.write(1, b"and its C code, too\\n")
for event in protocol.events(sys.stdin.buffer, channel):
    print(event.name, event.program, event.payload.get("pid", ""), flush=True)
print("the end", flush=True)
"""


def _event(name: str, payload: str) -> bytes:
    head = f"ver:3.0 server:supervisor serial:1 pool:l poolserial:1 eventname:{name} len:{len(payload)}\n"
    return (head + payload).encode()


def _heard(sent: bytes) -> tuple[list[Event], bytes]:
    channel = io.BytesIO()
    return list(protocol.events(io.BytesIO(sent), channel)), channel.getvalue()


def test_every_event_is_acknowledged_and_handed_on() -> None:
    first = _event("PROCESS_STATE_EXITED", "processname:gpu1 groupname:comfyui from_state:RUNNING expected:0 pid:7")
    events, said = _heard(first + _event("TICK_60", "when:1201063880"))
    assert [event.name for event in events] == ["PROCESS_STATE_EXITED", "TICK_60"]
    assert [event.program for event in events] == ["comfyui:gpu1", ""]
    assert events[0].payload["pid"] == "7"
    assert said == b"READY\n" + 2 * b"RESULT 2\nOKREADY\n"


def test_a_program_alone_in_its_group_has_the_groups_name() -> None:
    events, _ = _heard(_event("PROCESS_STATE_STOPPED", "processname:comfyui groupname:comfyui pid:7"))
    assert events[0].program == "comfyui"


def test_garbage_is_skipped_and_never_answered() -> None:
    junk = b"\n\xff\xfe junk\nlen:many eventname:X\nlen:99999999999 eventname:X\n"
    events, said = _heard(junk + _event("TICK_60", "when:1"))
    assert [event.name for event in events] == ["TICK_60"]
    assert said.count(b"RESULT") == 1


def test_an_input_that_breaks_off_is_the_end() -> None:
    events, _ = _heard(_event("TICK_60", "when:1")[:-3])
    assert [event.name for event in events] == ["TICK_60"]


def test_supervisord_gets_on_with_it_whatever_is_printed(supervisord: Supervisord) -> None:
    script = supervisord.folder / "listener.py"
    script.write_text(_LISTENER)
    log = supervisord.folder / "listener.log"
    supervisord.start(
        f"[eventlistener:l]\ncommand={sys.executable} {script}\nevents=PROCESS_STATE\nstderr_logfile={log}\n"
        "[program:comfyui]\ncommand=sleep 1000\nstartsecs=0\n"
    )
    for turn in range(1, 4):
        _wait_for(log, "PROCESS_STATE_RUNNING comfyui", turn)
        supervisord.rpc.stop("comfyui")
        _wait_for(log, "PROCESS_STATE_STOPPED comfyui", turn)
        supervisord.rpc.start("comfyui")
    assert log.read_text().startswith("a library prints\nand its C code, too\n")
    assert "UNKNOWN" not in supervisord.log_text()


def _wait_for(log: Path, text: str, count: int) -> None:
    wait_until(lambda: log.read_text().count(text) >= count, what=f"{count} times {text}")


def test_its_own_end_follows_that_of_its_input(tmp_path: Path) -> None:
    script = tmp_path / "listener.py"
    script.write_text(_LISTENER)
    process = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, errors = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, b"READY\n")
    assert errors.endswith(b"the end\n")
