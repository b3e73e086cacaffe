"""The helper process: whatever becomes of it, its caller goes on, in time and with one line to tell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from comfy_supervisor.gpu import detect, helper, use
from comfy_supervisor.model import Driver
from tests.support import is_running, wait_until


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose code runs in the helper's place."""
    path = tmp_path / "helper.py"
    monkeypatch.setattr(helper, "_SCRIPT", path)
    return path


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("", "exit status 0"),
        ("print('{')", "exit status 0"),
        ("print([1, 2])", "exit status 0"),
        ("print('[' * 100000)", "exit status 0"),
        (r"import sys; sys.stdout.buffer.write(b'\xff\x00')", "exit status 0"),
        ("print('{}'); raise SystemExit(3)", "exit status 3"),
        ("raise ValueError('one\\ntwo')", "two"),
        ("import no_such_module", "No module named 'no_such_module'"),
        ("import os; os.kill(os.getpid(), 9)", "Killed"),
        ("import os; os.abort()", "Aborted"),
        ("print('{}')", "of another release"),
        ("""print('{"gpus": [{}]}')""", "of another release"),
        ("""print('{"gpus": 7}')""", "of another release"),
        ("""print('{"error": []}')""", "of another release"),
        ("""print('{"error": null}')""", "of another release"),
    ],
)
def test_unusable_answer_is_one_plain_line(script: Path, code: str, words: str) -> None:
    script.write_text(code)
    report = detect()
    assert report.driver is Driver.BROKEN
    assert words in report.text
    assert len(report.text.splitlines()) == 1
    assert use() == {}


def test_helper_that_is_gone(script: Path) -> None:
    report = detect()
    assert report.driver is Driver.BROKEN
    assert "No such file" in report.text


def test_interpreter_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    report = detect()
    assert report.driver is Driver.BROKEN
    assert "can't start /nonexistent/python to ask NVML: No such file or directory" in report.text


def test_much_output_blocks_nobody(script: Path) -> None:
    script.write_text("import sys; sys.stderr.write('x\\n' * 10**6); print('{\"gpus\": []}')")
    assert helper.ask("detect", 30) == {"gpus": []}


def test_whole_group_is_killed(script: Path, tmp_path: Path) -> None:
    """What the helper started dies with it."""
    pids = tmp_path / "pids"
    script.write_text(
        "import os, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)\n"
    )
    process = helper.start(script, "detect", stdin=subprocess.DEVNULL, stderr=None)
    wait_until(lambda: pids.exists() and pids.stat().st_size > 0)
    helper.end(process)
    both = [int(pid) for pid in pids.read_text().split()]
    wait_until(lambda: not any(map(is_running, both)))


def test_helper_that_no_signal_reaches_is_abandoned(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller returns in time, starts no second one, and asks again once it has ended."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "killpg", Mock())
        script.write_text("import time; time.sleep(600)")
        begin = time.monotonic()
        assert detect(deadline=0.2).driver is Driver.HANGS
        assert time.monotonic() - begin < 10
    (stuck,) = helper._stuck
    script.write_text("print('{\"gpus\": []}')")
    assert f"an earlier call still hangs (process {stuck.pid})" in detect().text
    os.killpg(stuck.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(stuck.pid))
    assert helper.ask("detect", 30) == {"gpus": []}


def test_modules_in_the_working_folder_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "pynvml"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('taken')")
    monkeypatch.chdir(tmp_path)
    assert "taken" not in detect().text


def test_import_does_nothing() -> None:
    """No NVML, no ctypes, no process."""
    code = "import sys, comfy_supervisor.gpu; print({'pynvml', 'ctypes', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
