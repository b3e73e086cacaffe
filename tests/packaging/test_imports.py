"""Importing a module does nothing: no network, no process, no file written, no torch, no NVML."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUARD = Path(__file__).with_name("guard.py")
HEAVY = ("aiohttp", "jinja2", "psutil", "pydantic", "pynvml", "requests", "rich", "supervisor", "torch")


def _modules(folder: str, package: str) -> list[str]:
    """Return the name of every module below a folder of the source tree."""
    names = (path.relative_to(ROOT / folder).with_suffix("").parts for path in (ROOT / folder).rglob("*.py"))
    return sorted(".".join((package, *parts)).removesuffix(".__init__") for parts in names)


ROOMS = _modules("comfy_supervisor", "comfy_supervisor")
LAUNCHER = [name for name in ROOMS if name.startswith("comfy_supervisor.launch")]
ALL = [
    *ROOMS,
    *_modules("conf", "comfy_supervisor.conf"),
    *_modules("eventlisteners", "comfy_supervisor.eventlisteners"),
]


def _guarded(modules: Sequence[str], *options: str, folder: Path = ROOT) -> str:
    """Import a folder's modules, guarded, in a new interpreter; return what went wrong, empty if nothing did."""
    done = subprocess.run(
        [sys.executable, *options, str(GUARD), *modules],
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def test_importing_any_module_does_nothing() -> None:
    assert not _guarded(ALL)


def test_the_launcher_imports_nothing_but_the_standard_library() -> None:
    """It runs without a single installed package."""
    assert not _guarded(LAUNCHER, "-S")


def test_the_extension_imports_nothing_but_the_standard_library() -> None:
    """ComfyUI's interpreter runs it, and has not a module of comfy-supervisor's."""
    folder = ROOT / "comfy_supervisor" / "extension"
    modules = _modules(f"{folder}/comfy_supervisor_bridge", "comfy_supervisor_bridge")
    assert len(modules) > 1
    assert not _guarded(modules, "-S", folder=folder)


def test_nothing_else_stands_where_comfyui_loads_whatever_it_finds() -> None:
    found = {path.name for path in (ROOT / "comfy_supervisor" / "extension").iterdir()}
    assert found - {"__pycache__"} == {"comfy_supervisor_bridge"}


def test_the_listener_lives_without_what_only_commands_need() -> None:
    """It does so for months, and each costs its memory; nor does it get them from what it imports only later."""
    parts = [name for name in ROOMS if name.split(".")[1:2] in (["health"], ["incidents"], ["jobs"], ["notify"])]
    modules = ["comfy_supervisor.eventlisteners.comfyui_health", *parts]
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert set(HEAVY) & set(done.stdout.split()) == {"psutil", "requests"}


def test_help_imports_nothing_that_takes_long() -> None:
    code = "import sys; from comfy_supervisor.cli import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not set(HEAVY) & set(done.stderr.split())


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("import socket; socket.socket()", "socket.__new__"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import os; os.system('true')", "os.system"),
        ("import os; os.fork()", "os.fork"),
        ("import ctypes; ctypes.CDLL('libnvidia-ml.so.1')", "ctypes.dlopen"),
        ("open('written', 'w')", "open"),
        ("import os; os.mkdir('made')", "os.mkdir"),
        ("import torch", "import torch"),
        ("import pynvml", "import pynvml"),
        ("print('hello')", "hello"),
        ("import threading, time; threading.Thread(target=time.sleep, args=[1]).start()", "a thread"),
        ("import signal; signal.signal(signal.SIGTERM, print)", "SIGTERM"),
        ("import os; os.environ['A'] = 'b'", "the environment"),
        ("raise SystemExit", "exits"),
    ],
)
def test_the_guard_sees(source: str, complaint: str, tmp_path: Path) -> None:
    """What it would let pass, the tests above could not find."""
    (tmp_path / "guilty.py").write_text(source)
    assert complaint in _guarded(["guilty"], folder=tmp_path)
