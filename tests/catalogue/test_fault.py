"""What the next start would fail of, too: told from the end of a log, and never otherwise than ``explain`` tells it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from comfy_supervisor import catalogue
from comfy_supervisor.health.senses.start import TRIES, FailedStarts
from tests.catalogue.logs_kept import Kept, kept

LAST_LINES = {
    "main.py: error: argument --cpu: not allowed with argument --gpu-only": "flag_conflict",
    "main.py: error: unrecognized arguments: --normalvram": "flag_unknown",
    "RuntimeError: config[i] == get()->name() INTERNAL ASSERT FAILED at CUDAAllocatorConfig.h": "allocator_conflict",
    "RuntimeError: Allocator backend parsed at runtime != allocator backend parsed at load time": "allocator_conflict",
    "OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', 8188)": "port_in_use",
    "Port 8188 is already in use on address 127.0.0.1": "port_in_use",
    "AssertionError: Torch not compiled with CUDA enabled": "no_cuda_torch",
    "RuntimeError: Found no NVIDIA driver on your system.": "driver_mismatch",
    "ModuleNotFoundError: No module named 'torchsde'": "missing_module",
}


TRACED = "Traceback (most recent call last):\n  File …\n"
IN_MAIN = (
    'Traceback (most recent call last):\n  File "/opt/ComfyUI/main.py", line 12, in <module>\n    import execution\n'
)
LACKS = IN_MAIN + "ModuleNotFoundError: No module named 'torchsde'\n"
IGNORED = (
    "Exception ignored in: <function Session.__del__ at 0x7f2b>\nTraceback (most recent call last):\n"
    '  File "/opt/ComfyUI/venv/lib/x.py", line 3, in __del__\n'
    "AttributeError: 'NoneType' object has no attribute 'close'\n"
)


@pytest.mark.parametrize(("line", "cause"), LAST_LINES.items())
def test_what_the_next_start_would_fail_of_too(line: str, cause: str) -> None:
    found, explanation = catalogue.configuration_fault(f"{TRACED}{line}\n".encode(), exit_code=1)
    assert found == cause
    assert explanation.startswith(f"{line}: ")
    assert len(explanation) > len(line) + 20


@pytest.mark.parametrize(
    "end", ["sys:1: RuntimeWarning: coroutine 'x' was never awaited\n", IGNORED, IGNORED * 3, "bye\n"]
)
def test_what_stands_behind_the_exception_hides_it_from_nobody(end: str) -> None:
    for lacks in (LACKS, LACKS.replace("main.py", "other.py")):
        log = (lacks + end).encode()
        assert catalogue.configuration_fault(log, exit_code=1)[0] == "missing_module"
        assert catalogue.explain_chunks([log], exit_code=1).cause == "missing_module"


@pytest.mark.parametrize(
    "log",
    [
        "",
        "\n\n",
        "got prompt",
        "RuntimeError: something new",
        "Killed",
        "pytorch version: 2.9.0+cpu\n",
        f"Starting server\n{TRACED}ModuleNotFoundError: No module named 'insightface'\nbye\n",
    ],
)
def test_what_is_not_known_may_go_well_the_next_time(log: str) -> None:
    assert catalogue.configuration_fault(log.encode(), exit_code=1) == ("", "")


def test_a_custom_node_that_could_not_be_imported_is_not_why_it_ended() -> None:
    log = b"ModuleNotFoundError: No module named 'insightface'\nStarting server\n"
    assert catalogue.configuration_fault(log, exit_code=1) == ("", "")


def test_of_what_was_killed_before_it_said_anything_the_log_tells_another_starts_fault() -> None:
    assert catalogue.configuration_fault(LACKS.encode(), signal=9) == ("", "")
    illegal = b"Fatal Python error: Illegal instruction\n"
    assert catalogue.configuration_fault(illegal, signal=4)[0] == "binary_incompatible"


@pytest.mark.parametrize("log", [log for log in kept() if log.ending], ids=lambda log: log.name)
def test_the_listener_and_explain_say_the_same(log: Kept, tmp_path: Path) -> None:
    """It is one of the senses that is asked, with the end of the log and supervisord's words."""
    (tmp_path / "log").write_bytes(log.file.read_bytes())
    code, number = log.ending.get("exit_code"), log.ending.get("signal")
    number = code - 128 if code and code > 128 else number
    how = f"terminated by {signal.Signals(number).name}" if number else f"exit status {code}"
    starts = FailedStarts(str(tmp_path / "log"))
    for _ in range(TRIES):
        ending = starts.judge(f"exited: {how}; not expected")
    expected = log.explained().cause
    assert ending.cause == (expected if catalogue.entry(expected).kind == "configuration" else "")


def test_what_may_pass_by_itself_is_held_only_when_it_lasts(tmp_path: Path) -> None:
    """A disk that is mounted late, or not at all."""
    denied = "PermissionError: [Errno 13] Permission denied: '/mnt/models'\n"
    (tmp_path / "log").write_text(IN_MAIN + denied)
    starts, text = FailedStarts(str(tmp_path / "log")), "exited: exit status 1; not expected"
    found = [starts.judge(text).cause for _ in range(TRIES - 1)]
    starts.forget()
    found += [starts.judge(text).cause for _ in range(TRIES - 1)]
    assert set(found) == {""}
    assert starts.judge(text).cause == "permission_denied"
