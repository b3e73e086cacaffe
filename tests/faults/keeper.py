"""A service whose jobs are kept, and what a test of that asks of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from typing import Any

import requests

from comfy_supervisor.jobs.job import Job, State
from comfy_supervisor.jobs.journal import Journal, JournalError
from tests.faults.patient import Patient, sleeper

LONG = 60.0
"""Seconds for what takes several restarts."""


class Keeper(Patient):
    """A patient whose jobs are kept."""

    extension = True

    def keep(self, extension: bool, replay: str = "always", **tables: dict[str, Any]) -> None:
        """Write the settings, and start it all."""
        self.extension = extension
        jobs: dict[str, Any] = {"extension": extension, "replay": replay}
        restart: dict[str, Any] = {"budget": 1000}
        self.settings(**{"jobs": jobs, "restart": restart, **tables})
        self.up()

    @property
    def journal(self) -> Journal:
        return Journal(self.state / self.instance, make=False)

    def job(self, prompt_id: str) -> Job:
        """Return a job as the journal has it."""
        found = self.journal.job(prompt_id)
        assert found, f"{prompt_id} is not in the journal\n{self.story()}"
        return found

    def state_of(self, prompt_id: str) -> str:
        """Return a job's state in the journal, empty where it is not there."""
        try:
            found = self.journal.job(prompt_id)
        except JournalError:  # it is being set aside
            return ""
        return found.state.value if found else ""

    def sleeper(self, seconds: float) -> dict[str, Any]:
        """Return a job that takes a while; who looks from outside alone has to be shown that something moves."""
        return sleeper(seconds) if self.extension else sleeper(max(seconds, 2.0), burn=True)

    def submitted(self, *prompts: dict[str, Any]) -> list[str]:
        """Queue jobs, and wait until the journal has them."""
        ids = [self.submit(prompt) for prompt in prompts]
        self.wait_for(lambda: all(map(self.state_of, ids)), what="all in the journal")
        return ids

    def wait_for_states(self, ids: Sequence[str], *states: str, deadline: float = LONG) -> None:
        """Wait until each of some jobs is in one of these states."""
        self.wait_for(lambda: all(self.state_of(each) in states for each in ids), deadline, self.shown(ids))

    def shown(self, ids: Sequence[str]) -> str:
        """Return how some jobs are, for those who read a test's failure."""
        return " ".join(self.state_of(each) for each in ids)

    def wait_until_runs(self, prompt_id: str) -> None:
        """Wait until a job runs, and the journal knows."""
        self.wait_for(lambda: self.state_of(prompt_id) == State.RUNNING.value, LONG, f"{prompt_id} runs")

    def ended_in_order(self, ids: Sequence[str]) -> list[str]:
        """Return the jobs in the order in which they ended."""
        return sorted(ids, key=lambda each: self.job(each).changed)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        """Kill ComfyUI, wait for its successor, and return that one's pid."""
        pid = self.pid()
        os.kill(pid, how)
        return self.wait_for_next_life(pid)

    def queue(self) -> set[str]:
        """Return the ids of the unfinished jobs in ComfyUI's own queue."""
        found = requests.get(f"{self.url}/queue", timeout=10).json()
        return {item[1] for item in (*found["queue_running"], *found["queue_pending"])}
