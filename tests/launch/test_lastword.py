"""What supervisord's log tells of a life's end."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from comfy_supervisor.launch import lastword

LOG = """\
2026-11-23 12:29:35,114 INFO spawned: 'comfyui' with pid 100
2026-11-23 12:29:35,115 INFO success: comfyui entered RUNNING state, process has stayed up for > than 0 seconds
2026-11-23 12:29:36,100 INFO stopped: comfyui (exit status 0)
2026-11-23 12:29:37,114 INFO spawned: 'comfyui' with pid 200
2026-11-23 12:29:38,100 WARN exited: comfyui (terminated by SIGSEGV (core dumped); not expected)
2026-11-23 12:29:38,200 WARN exited: other (exit status 3; not expected)
2026-11-23 12:29:39,114 INFO spawned: 'comfyui' with pid 300
"""
"""As 4.2.5, 4.3.0 and 4.4 write it."""


@pytest.mark.parametrize(
    ("pid", "ending"),
    [
        (200, "exited: terminated by SIGSEGV (core dumped); not expected"),
        (300, ""),
        (999, "exited: terminated by SIGSEGV (core dumped); not expected"),  # started before this piece of the log
    ],
)
def test_the_end_after_the_start_is_found(pid: int, ending: str) -> None:
    assert lastword.find(LOG, "comfyui", pid) == ending


def test_the_end_of_a_launcher_that_waited_afterwards_is_not_the_lifes() -> None:
    log = LOG + "2026-11-23 12:29:40,100 WARN exited: comfyui (terminated by SIGKILL; not expected)\n"
    assert lastword.find(log, "comfyui", 200) == "exited: terminated by SIGSEGV (core dumped); not expected"


def test_a_stop_of_a_launcher_that_waited_afterwards_is_somebodys_word() -> None:
    log = LOG + "2026-11-23 12:29:40,100 WARN stopped: comfyui (terminated by SIGKILL)\n"
    assert lastword.find(log, "comfyui", 200) == "stopped: terminated by SIGKILL"


STOPPED = "2026-11-23 12:29:40,100 WARN stopped: comfyui (terminated by SIGKILL)\n"
FORGOTTEN = """\
2026-11-23 12:29:40,114 INFO spawned: 'comfyui' with pid 400
2026-11-23 12:29:41,100 WARN exited: comfyui (exit status 1; not expected)
"""


@pytest.mark.parametrize(
    ("more", "pid", "ending"),
    [
        ("", 200, "exited: terminated by SIGSEGV (core dumped); not expected"),
        (STOPPED, 200, "exited: terminated by SIGSEGV (core dumped); not expected"),
        (STOPPED, 300, "stopped: terminated by SIGKILL"),
        (FORGOTTEN, 300, ""),
        ("", 999, ""),
    ],
)
def test_a_lifes_own_end_is_that_of_no_other(more: str, pid: int, ending: str) -> None:
    """Not that of the next launcher, nor, where a supervisord died before it could tell, of the next life."""
    assert lastword.find_own(LOG + more, "comfyui", pid) == ending


def test_a_stop_is_told_from_a_death() -> None:
    assert lastword.find(LOG[: LOG.index("200")], "comfyui", 100) == "stopped: exit status 0"


def test_the_name_is_no_pattern() -> None:
    assert lastword.find(LOG, "c.mfyui", 1) == ""


def test_what_a_program_printed_is_not_mistaken_for_supervisords_word() -> None:
    assert lastword.find("stopped: comfyui (exit status 0)\nhe said: stopped: comfyui (x)\n", "comfyui", 1) == ""


OURS = "2026-11-23 12:29:36 comfy-supervisor: waiting (backoff): 2 short lives in a row\n"


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", ""),
        ("one\ntwo\n\n", "two"),
        ("usage: main.py\nmain.py: error: unrecognized arguments: --nope\n", "main.py: error: unrecognized"),
        ("Traceback (most recent call last):\n  File x\n    y\nKeyError: 'z'\n  + a note\n", "KeyError: 'z'"),
        ("Fatal Python error: Aborted\n\nThread 1:\n  File x\n\nExtension modules: a, b\n", "Fatal Python error: A"),
        ("\x1b[31m[ERROR]\x1b[0m it\tis\x07 bad\n", "[ERROR] it is bad"),
        (f"of an earlier life\n{OURS}", ""),
        (f"of an earlier life\n{OURS}of the last\n", "of the last"),
        ("x" * 5000, "x" * 199 + "…"),
    ],
)
def test_the_line_that_tells_most(log: str, line: str) -> None:
    assert lastword.telling(log)[: len(line) or None] == line


def test_what_the_next_launcher_said_is_none_of_it() -> None:
    log = f"of an earlier life\n{OURS}of the last\n"
    assert lastword.without_next(f"{log}{OURS}{OURS}") == log
    assert lastword.without_next(log) == log
    assert lastword.without_next(OURS) == ""


@pytest.mark.parametrize(
    "url", ["", "unix:///no/such/socket", "http://127.0.0.1:1", "http://x:y", "nonsense", "unix://" + "x" * 200]
)
def test_nobody_to_ask_is_no_answer(url: str) -> None:
    assert lastword.ending(url, "comfyui", 1) == ""
    assert lastword.own_ending(url, "comfyui", 1) is None
    assert lastword.said(url, "comfyui") == ""


@pytest.mark.parametrize("trickle", [False, True])
def test_a_supervisord_that_hangs_is_not_waited_for(trickle: bool, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        thread = threading.Thread(target=_drip, args=[server, trickle], daemon=True)
        thread.start()
        began = time.monotonic()
        assert lastword.ending(f"unix://{tmp_path}/s", "comfyui", 1, timeout=0.5) == ""
        assert 0.4 < time.monotonic() - began < 5
        thread.join()


def _drip(server: socket.socket, trickle: bool) -> None:
    connection, _ = server.accept()
    with connection:
        try:
            while trickle:
                connection.sendall(b"x")
                time.sleep(0.05)
        except OSError:
            return
        connection.recv(10**6)
        connection.recv(10**6)
