"""ComfyUI's queue, as the stand-in has it, with our extension's hooks around it and a real journal."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comfy_supervisor.extension.comfy_supervisor_bridge import guard, hooks, writer
from comfy_supervisor.extension.comfy_supervisor_bridge.gate import Gate
from comfy_supervisor.extension.comfy_supervisor_bridge.heartbeat import Heart
from comfy_supervisor.extension.comfy_supervisor_bridge.journal import Journal as ExtensionJournal
from comfy_supervisor.extension.comfy_supervisor_bridge.life import Life
from comfy_supervisor.extension.comfy_supervisor_bridge.progress import Progress
from comfy_supervisor.jobs.journal import Journal
from comfy_supervisor.standin.prompt_queue import Item, PromptQueue

DONE = PromptQueue.ExecutionStatus("success", True, [])
SENSITIVE = ("secret", "auth_token_comfy_org", "api_key_comfy_org")
"""What ComfyUI calls so: the two that are known without it, and one of a release to come."""
INTERRUPTED = PromptQueue.ExecutionStatus("error", False, [("execution_interrupted", {})])


def failed(message: str) -> PromptQueue.ExecutionStatus:
    """Return how a job ends that raises RuntimeError."""
    error = {"exception_type": "RuntimeError", "exception_message": message}
    return PromptQueue.ExecutionStatus("error", False, [("execution_error", error)])


@dataclass
class Bridged:
    """One life."""

    folder: Path
    said: list[str] = field(default_factory=list)
    interrupted: int = 0

    def __post_init__(self) -> None:
        queue_type: Any = type("PromptQueue", (PromptQueue,), {})
        self.life = Life("token", "boot", 7, 1.5, 2.5)
        self.journal = ExtensionJournal(str(self.file), self.life, self.said.append, SENSITIVE)
        self.queue: Any = queue_type(SimpleNamespace(queue_updated=lambda: None))
        self.hooks = hooks.Hooks(self.journal, Progress(), Gate(str(self.folder)), self.queue)
        self.prompt_server: Any = type("PromptServer", (), {"send_sync": lambda *_: "sent"})
        self.server = SimpleNamespace(PromptServer=SimpleNamespace(instance=self.prompt_server()))
        self.execution = SimpleNamespace(execute=lambda *_: "executed")
        self.nodes = SimpleNamespace(interrupt_processing=self._interrupt)
        hooks.install(self.hooks, self.server, self.execution, self.nodes)
        self.hooks.take_stock()
        self.heart = Heart(str(self.folder), self.life, self.hooks, None, "SIGUSR1")

    @property
    def file(self) -> Path:
        return self.folder / "journal.sqlite"

    def _interrupt(self, value: bool = True) -> None:
        self.interrupted += value

    def put(self, prompt_id: str, number: float = 1.0, **extra: Any) -> None:
        item: Item = (number, prompt_id, {"1": {"class_type": "X"}}, extra, ["1"], {})
        self.queue.put(item)

    def take(self) -> tuple[Any, int] | None:
        taken: tuple[Any, int] | None = self.queue.get(timeout=0.01)
        return taken

    def run(self, status: PromptQueue.ExecutionStatus = DONE) -> str:
        """Run the next job, and return its id."""
        taken = self.take()
        assert taken
        self.queue.task_done(taken[1], {}, status=status)
        return str(taken[0][1])

    def row(self, prompt_id: str) -> dict[str, Any]:
        with closing(sqlite3.connect(self.file)) as connection:
            connection.row_factory = sqlite3.Row
            found = connection.execute(
                "SELECT * FROM jobs LEFT JOIN bodies USING (seq) WHERE prompt_id = ?", (prompt_id,)
            ).fetchone()
        return dict(found) if found else {"state": "unknown"}

    def states(self, *prompt_ids: str) -> list[str]:
        return [self.row(each)["state"] for each in prompt_ids]

    def execute(self, statement: str) -> None:
        """Do what the listener does."""
        with closing(sqlite3.connect(self.file)) as connection, connection:
            connection.execute(statement)

    def listener_asks(self, prompt_id: str) -> None:
        """Write down, as the listener does, that it is about to ask a job to give up."""
        with closing(Journal(self.folder)) as journal:
            assert journal.ask(prompt_id)

    def beat(self) -> dict[str, Any]:
        """Have the heart beat once, and return what it tells."""
        guard.guarded("journal", self.heart._tend)
        return self.heart._told(time.monotonic())


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No disk is late because the machine is busy."""
    monkeypatch.setattr(writer, "PATIENCE", 60.0)


@pytest.fixture
def bridged(tmp_path: Path) -> Iterator[Bridged]:
    guard._troubled.clear()
    one = Bridged(tmp_path)
    yield one
    one.journal._close()
    guard._troubled.clear()
