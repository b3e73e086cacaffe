"""Stack dumps: read as several programs write them, and the suspect named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_supervisor.incidents import dumps, outside
from comfy_supervisor.incidents.parts import MissingError
from tests.support import wait_until

_DATA = Path(__file__).parents[1] / "data" / "incidents"

SPIED = """Process 42: /opt/venv/bin/python main.py
Python v3.11.7 (/usr/local/bin/python3.11)

Thread 42 (idle): "MainThread"
    BaseSelector.select (/usr/lib/python3.11/selectors.py:468)
    <module> (/opt/ComfyUI/main.py:367)
Thread 57 (active+gil): "Thread-3 (prompt_worker)"
    attention (/opt/ComfyUI/comfy/ldm/modules/attention.py:120)
    KSampler.sample (/opt/ComfyUI/comfy/samplers.py:900)
    KSampler.sample (/opt/ComfyUI/nodes.py:1500)
    PromptExecutor.execute (/opt/ComfyUI/execution.py:649)
    prompt_worker (/opt/ComfyUI/main.py:195)
"""
TRACEBACK = """Exception in thread Thread-3 (prompt_worker):
Traceback (most recent call last):
  File "/usr/lib/python3.12/threading.py", line 1075, in _bootstrap_inner
    self.run()
  File "/opt/ComfyUI/main.py", line 195, in prompt_worker
    e.execute(item[2])
  File "/opt/ComfyUI/execution.py", line 649, in execute
    x
  File "/opt/ComfyUI/custom_nodes/wrapper/nodes.py", line 9, in run
    inner()
  File "/opt/ComfyUI/custom_nodes/bad_pack/nodes.py", line 3, in run
    raise SystemExit
KeyError: 1
[INFO] afterwards
"""


@pytest.mark.parametrize("release", ["0.3.64", "0.33.0"])
def test_the_extensions_dump_of_a_real_comfyui_names_the_node(release: str) -> None:
    found = dumps.threads((_DATA / f"stacks-{release}.txt").read_text())
    assert [thread.is_worker for thread in found] == [True, False, False]
    suspect = dumps.suspect(found, "stacks")
    assert suspect
    assert suspect.package == "slow-pack"
    assert suspect.frame == dumps.Frame("/opt/ComfyUI/custom_nodes/slow-pack/fault_nodes.py", 39, "run")


def test_without_a_custom_node_comfyuis_innermost_call_is_named() -> None:
    suspect = dumps.suspect(dumps.threads(SPIED), "py-spy")
    assert suspect
    assert (suspect.package, suspect.source) == ("", "py-spy")
    assert suspect.frame
    assert suspect.frame.told == "/opt/ComfyUI/comfy/ldm/modules/attention.py:120 in attention"


def test_nodes_py_comes_last_and_a_folder_called_comfy_above_is_none_of_comfyuis() -> None:
    lines = [
        "Thread 0x01 (most recent call first):",
        '  File "/home/me/comfy/v1/nodes.py", line 7 in load',
        '  File "/home/me/comfy/v1/execution.py", line 1 in execute',
    ]
    suspect = dumps.suspect(dumps.threads("\n".join(lines)), "stacks")
    assert suspect
    assert suspect.frame
    assert suspect.frame.file == "/home/me/comfy/v1/nodes.py"


def test_of_several_dumps_the_last_one_counts() -> None:
    dump = 'Thread 0x01 (most recent call first):\n  File "a.py", line 1 in f\n'
    again = dump.replace("line 1", "line 2")
    assert [thread.frames[0].line for thread in dumps.threads(dump + again)] == [2]


HANGS = """import sys, threading
sys.path[:0] = ["custom_nodes/slow (old)"]
import slow_node
def prompt_worker():
    print("begun", flush=True)
    slow_node.run(threading.Event())
threading.Thread(target=prompt_worker).start()
"""


def test_what_the_real_py_spy_sees_names_the_node(tmp_path: Path) -> None:
    package = tmp_path / "custom_nodes" / "slow (old)"
    package.mkdir(parents=True)
    (package / "slow_node.py").write_text("def run(never):\n    never.wait()\n")
    (tmp_path / "main.py").write_text(HANGS)
    with subprocess.Popen([sys.executable, "main.py"], cwd=tmp_path, stdout=subprocess.PIPE) as hanging:
        try:
            assert hanging.stdout
            hanging.stdout.readline()
            told = wait_until(lambda: _spied(hanging.pid))
        finally:
            hanging.kill()
    suspect = dumps.suspect(dumps.threads(told), "py-spy")
    assert suspect
    assert suspect.package == "slow (old)"
    assert suspect.frame
    assert suspect.frame.told == f"{package}/slow_node.py:2 in run"


def _spied(pid: int) -> str:
    """Return what py-spy sees once the node runs; it may find a process between two calls."""
    try:
        told = outside.py_spy(pid)
    except MissingError as error:
        if "ermission" in str(error) or "not permitted" in str(error):
            pytest.skip(f"no process may look into another here: {error}")
        return ""
    return told if "slow_node.py" in told else ""


def test_who_is_no_worker_is_not_suspected() -> None:
    assert dumps.suspect(dumps.threads(SPIED.partition("Thread 57")[0]), "py-spy") is None


def test_a_traceback_in_the_log_is_read_the_other_way_round() -> None:
    (found,) = dumps.tracebacks(TRACEBACK.splitlines())
    suspect = dumps.suspect([found], "traceback")
    assert suspect
    assert (suspect.package, suspect.frame and suspect.frame.line) == ("bad_pack", 3)


def test_what_faulthandler_writes_at_a_crash_is_found_in_the_log(tmp_path: Path) -> None:
    """By a real crash, below a custom node."""
    package = tmp_path / "custom_nodes" / "crashing"
    package.mkdir(parents=True)
    (package / "node.py").write_text("import ctypes\ndef run():\n    ctypes.string_at(0)\n")
    code = f"import runpy; runpy.run_path({str(package / 'node.py')!r})['run']()"
    (tmp_path / "execution.py").write_text(code)
    command = [sys.executable, "-X", "faulthandler", str(tmp_path / "execution.py")]
    log = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False).stderr
    lines = ["[INFO] before", *log.splitlines(), "2026-01-01 00:00:00 comfy-supervisor: next start"]
    told = dumps.fatal(lines)
    assert told.startswith("Fatal Python error: Segmentation fault")
    assert "comfy-supervisor" not in told
    suspect = dumps.suspect(dumps.threads(told), "faulthandler")
    assert suspect
    assert suspect.package == "crashing"


@given(st.text())
def test_any_text_at_all_is_a_legal_dump(text: str) -> None:
    found = dumps.threads(text) + dumps.tracebacks(text.splitlines())
    dumps.suspect(found, "stacks")
    dumps.fatal(text.splitlines())
