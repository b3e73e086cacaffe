"""Starts a ComfyUI, the stand-in or a real one, and talks to it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import requests

import comfy_supervisor.standin
from comfy_supervisor.standin.release import Release
from tests.support import free_port, wait_until

STANDIN_FOLDER = Path(comfy_supervisor.standin.__file__).parent
BOOT = 180.0
"""Seconds: a real ComfyUI on a busy machine."""


@dataclass(frozen=True)
class Kind:
    """Which ComfyUI to start."""

    release: Release
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    real: bool = False

    def __str__(self) -> str:
        """Name it as tests do."""
        return f"{'real' if self.real else 'standin'}-{self.release.version}"


def standin(version: str) -> Kind:
    """Return the stand-in as it imitates a release."""
    command = (sys.executable, str(STANDIN_FOLDER / "main.py"))
    return Kind(Release(version), command, {"STANDIN_RELEASE": version})


def real(folder: Path, python: str) -> Kind:
    """Return the ComfyUI in a folder, with nodes of ours that are called as the stand-in's are."""
    found = re.search(r'__version__ = "(.+)"', (folder / "comfyui_version.py").read_text())
    assert found, f"{folder} does not say its version"
    return Kind(Release(found[1]), (python, str(folder / "main.py")), real=True)


class Server:
    """A running ComfyUI."""

    def __init__(
        self,
        kind: Kind,
        folder: Path,
        *flags: str,
        port: int | None = None,
        cpu: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start it with all its files under `folder`; does not wait until it answers."""
        self.kind, self.release, self.folder = kind, kind.release, folder
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_file = folder / "log"
        self.session = requests.Session()
        self.session.trust_env = False
        (folder / "user").mkdir(parents=True, exist_ok=True)
        (folder / "input").mkdir(exist_ok=True)
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [*kind.command, *(["--cpu"] if cpu else []), *self._flags(), *flags],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                cwd=folder,
                env={**os.environ, **kind.environment, **(environment or {})},
            )

    def _flags(self) -> list[str]:
        """Return what keeps this instance apart from all others."""
        flags = ["--disable-auto-launch", f"--port={self.port}", f"--temp-directory={self.folder}"]
        flags += [f"--{name}-directory={self.folder / name}" for name in ("output", "input", "user")]
        flags += [f"--database-url=sqlite:///{self.folder / 'comfyui.db'}"]
        if self.kind.real:
            paths = self.folder / "paths.yaml"
            paths.write_text(f"tests:\n  custom_nodes: {Path(__file__).parent / 'contract' / 'custom_nodes'}\n")
            flags.append(f"--extra-model-paths-config={paths}")
        return flags

    @property
    def log(self) -> str:
        """What it wrote to stderr."""
        return self.log_file.read_text(errors="replace")

    def until_ready(self) -> Server:
        """Wait until it answers."""
        wait_until(self._answers, BOOT, "no answer")
        return self

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log}"
        try:
            return self.session.get(f"{self.url}/prompt", timeout=5).ok
        except requests.ConnectionError:
            return False

    def until_ended(self, deadline: float = 30.0) -> int:
        """Return the exit code."""
        return self.process.wait(deadline)

    def stop(self) -> None:
        """End it, whatever it is doing."""
        self.session.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def get(self, path: str, **query: str | int) -> Any:
        """Return the JSON that is at a path."""
        response = self.session.get(self.url + path, params=query, timeout=30)
        assert response.ok, f"{response.status_code}: {response.text}"
        return response.json()

    def post(self, path: str, body: object) -> requests.Response:
        """Send JSON."""
        return self.session.post(self.url + path, json=body, timeout=30)

    def order(self, what: str, **options: object) -> None:
        """Have the stand-in do something wrong."""
        assert self.post("/standin", {"do": what, **options}).json() == {"ok": True}

    def submit(self, prompt: Mapping[str, Any], **options: object) -> str:
        """Queue a job and return its id."""
        response = self.post("/prompt", {"prompt": prompt, **options})
        assert response.ok, response.text
        prompt_id: str = response.json()["prompt_id"]
        return prompt_id

    def remaining(self) -> int:
        """Return how many jobs wait or run."""
        count: int = self.get("/prompt")["exec_info"]["queue_remaining"]
        return count

    def until_running(self, prompt_id: str) -> None:
        """Wait until a job runs."""
        wait_until(lambda: [item[1] for item in self.get("/queue")["queue_running"]] == [prompt_id])

    def finished(self, prompt_id: str) -> dict[str, Any]:
        """Wait until a job is in the history and return its entry."""
        wait_until(lambda: self.get(f"/history/{prompt_id}"), what=f"{prompt_id} did not finish")
        entry: dict[str, Any] = self.get(f"/history/{prompt_id}")[prompt_id]
        return entry


class Listener:
    """A WebSocket client that notes what it is told."""

    def __init__(self, server: Server, client_id: str = "") -> None:
        """Connect, and wait for the greeting."""
        self.client_id = client_id or uuid.uuid4().hex
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.closed = threading.Event()
        self._url = f"{server.url}/ws?clientId={self.client_id}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._listen(),), daemon=True)
        self._leave = asyncio.Event()
        self._thread.start()
        wait_until(lambda: self.heard, what="no greeting on the WebSocket")

    async def _listen(self) -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(self._url) as socket:
            leaving = asyncio.ensure_future(self._leave.wait())
            leaving.add_done_callback(lambda _: asyncio.ensure_future(socket.close()))
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    event = message.json()
                    self.heard.append((event["type"], event["data"]))
            leaving.cancel()
        self.closed.set()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return what was told in the events of a name."""
        return [data for event, data in self.heard if event == name]

    def leave(self) -> None:
        """Close the connection."""
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(30)


def image_job(width: int = 16, colour: int = 0xFF0000, prefix: str = "test", **inputs: object) -> dict[str, Any]:
    """Return a graph that saves a picture."""
    size = {"width": width, "height": 16, "batch_size": 1, "color": colour, **inputs}
    save = {"images": ["1", 0], "filename_prefix": prefix}
    return {"1": {"class_type": "EmptyImage", "inputs": size}, "2": {"class_type": "SaveImage", "inputs": save}}


def sleep_job(seconds: float, **inputs: object) -> dict[str, Any]:
    """Return a graph that takes a while."""
    return {"1": {"class_type": "StandinSleep", "inputs": {"seconds": seconds, **inputs}}}


def fail_job(kind: str = "error") -> dict[str, Any]:
    """Return a graph that fails."""
    return {"1": {"class_type": "StandinFail", "inputs": {"kind": kind}}}
