"""What extensions find as ``execution``: runs the nodes of one job and keeps the record that ``/history`` shows."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comfy_supervisor.standin import nodes
from comfy_supervisor.standin.configuration import Configuration
from comfy_supervisor.standin.control import Control, Interrupted
from comfy_supervisor.standin.fault_nodes import OutOfMemoryError, poisoned
from comfy_supervisor.standin.graph import DynamicPrompt, Prompt, cache_keys, execution_order, is_link
from comfy_supervisor.standin.node_types import NodeType, Result, Run
from comfy_supervisor.standin.prompt_queue import PromptQueue
from comfy_supervisor.standin.prompt_server import PromptServer
from comfy_supervisor.standin.release import PROGRESS_STATE
from comfy_supervisor.standin.validation import full_name

__all__ = ["SENSITIVE_EXTRA_DATA_KEYS", "Executor", "PromptQueue", "execute"]

_log = logging.getLogger(__name__)

SENSITIVE_EXTRA_DATA_KEYS = ("auth_token_comfy_org", "api_key_comfy_org")
"""The fields of ``extra_data`` that are not to be shown."""
_OUT_OF_MEMORY_TIP = (
    "This error means you ran out of memory on your GPU.\n\n"
    "TIPS: If the workflow worked before you might have accidentally set the batch_size to a large number."
)


@dataclass
class Record:
    """What happened to one job."""

    success: bool = True
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    """By node: what clients are shown."""

    @property
    def status(self) -> PromptQueue.ExecutionStatus:
        """The job's status, as the queue takes it."""
        return PromptQueue.ExecutionStatus("success" if self.success else "error", self.success, self.messages)

    @property
    def meta(self) -> dict[str, Any]:
        """By node: whose output it is, which differs only for graphs that grow while they run."""
        return {
            node_id: {"node_id": node_id, "display_node": node_id, "parent_node": None, "real_node_id": node_id}
            for node_id in self.outputs
        }


@dataclass
class Executor:
    """Runs jobs one after another; a node whose inputs are those of the job before is not run again."""

    configuration: Configuration
    types: Mapping[str, NodeType]
    control: Control
    server: PromptServer
    cache: dict[Hashable, Result] = field(default_factory=dict)
    """Results of the job before, by `cache_keys`."""

    def execute(self, prompt_id: str, prompt: Prompt, extra_data: Mapping[str, Any], outputs: Sequence[str]) -> Record:
        """Run a job to its end, good or bad; raises WorkerDeath if that was ordered."""
        nodes.interrupt_processing(False)
        self.server.client_id = extra_data.get("client_id")
        keys = cache_keys(prompt, self.types)
        self.cache = {key: self.cache[key] for key in keys.values() if key in self.cache}
        job = Job(self, prompt_id, prompt, keys, [node_id for node_id in prompt if keys[node_id] in self.cache])
        asyncio.run(job.run(outputs))
        self.server.last_node_id = None
        return job.record


async def execute(
    server: PromptServer, dynprompt: DynamicPrompt, caches: dict[Hashable, Result], current_item: str, job: Job
) -> None:
    """Run one node of a job, or show what the cache has of it.

    To be looked up where it is called: an extension may have put its own in its place. The first four arguments are
    ComfyUI's; what else there is differs by release.
    """
    key = job.keys[current_item]
    if current_item in job.cached:
        job.show(current_item, caches[key])
        return
    server.last_node_id = current_item
    caches[key] = job.run_node(current_item, dynprompt.get_node(current_item)["class_type"])
    job.executed.append(current_item)


@dataclass
class Job:
    """One execution of a graph."""

    executor: Executor
    id: str
    prompt: Prompt
    keys: Mapping[str, Hashable]
    """Each node's place in the cache."""
    cached: Sequence[str]
    """Nodes that need not be run."""
    record: Record = field(default_factory=Record)
    executed: list[str] = field(default_factory=list)
    progress: dict[str, dict[str, Any]] = field(default_factory=dict)
    """How far each node is, as clients are told."""

    async def run(self, outputs: Sequence[str]) -> None:
        """Run what `outputs` need and the cache lacks; fill the record and the cache."""
        self._note("execution_start")
        self._note("execution_cached", nodes=self.cached)
        graph = DynamicPrompt(self.prompt)
        for node_id in execution_order(self.prompt, outputs):
            try:
                await execute(self.executor.server, graph, self.executor.cache, node_id, self)
            except Interrupted:
                _log.info("Processing interrupted")
                return self._fail("execution_interrupted", node_id, everybody=True)
            except Exception as error:  # noqa: BLE001  # whatever a node raises is the job's end, not ours
                inputs = self._inputs(node_id)
                return self._fail("execution_error", node_id, **_explain(error, inputs, self.prompt))
        return self._note("execution_success")

    def run_node(self, node_id: str, class_type: str) -> Result:
        """Run a node and tell its client."""
        self._report_progress(node_id, "running", 0.0, 1.0)
        self._tell("executing", node=node_id, display_node=node_id)
        self.executor.control.checkpoint()
        if self.executor.control.poisoned:
            raise poisoned()

        def progress(value: float, total: float) -> None:
            self.executor.control.checkpoint()
            self._report_progress(node_id, "running", value, total)
            step = {"value": value, "max": total, "prompt_id": self.id, "node": node_id}
            self.executor.server.send_sync("progress", step, self.executor.server.client_id)

        run = Run(self.prompt, self.executor.configuration.folders, self.executor.control, progress)
        result = self.executor.types[class_type].run(run, self._inputs(node_id))
        self.show(node_id, result)
        total = self.progress[node_id]["max"]
        self._report_progress(node_id, "finished", total, total)
        return result

    def _inputs(self, node_id: str) -> dict[str, Any]:
        """Return a node's inputs, links replaced by what they lead to."""
        given = self.prompt[node_id]["inputs"]
        declared = self.executor.types[self.prompt[node_id]["class_type"]].declared()
        return {
            name: self.executor.cache[self.keys[value[0]]].outputs[value[1]] if is_link(value) else value
            for name, value in given.items()
            if name in declared
        }

    def show(self, node_id: str, result: Result) -> None:
        """Record what a node has to show, and tell its client."""
        if result.ui is not None:
            self.record.outputs[node_id] = result.ui
            self._tell("executed", node=node_id, display_node=node_id, output=result.ui)

    def _fail(self, event: str, node_id: str, *, everybody: bool = False, **details: object) -> None:
        """Record the job's bad end."""
        self.record.success = False
        name = self.prompt[node_id]["class_type"]
        about = {"node_id": node_id, "node_type": name, "executed": list(self.executed)}
        self._note(event, everybody=everybody, **about, **details)

    def _note(self, event: str, *, everybody: bool = False, **data: object) -> None:
        """Record a step of the job, and tell its client; `everybody`: if it has none, all."""
        message = {"prompt_id": self.id, **data, "timestamp": int(time.time() * 1000)}
        self.record.messages.append((event, message))
        if self.executor.server.client_id is not None or everybody:
            self.executor.server.send_sync(event, message, self.executor.server.client_id)

    def _tell(self, event: str, **data: object) -> None:
        """Tell the job's client, if it has one."""
        if self.executor.server.client_id is not None:
            self.executor.server.send_sync(event, {**data, "prompt_id": self.id}, self.executor.server.client_id)

    def _report_progress(self, node_id: str, state: str, value: float, total: float) -> None:
        """Tell how far each node is; a job without a client tells everybody, as ComfyUI does."""
        who = {"node_id": node_id, "display_node_id": node_id, "parent_node_id": None, "real_node_id": node_id}
        state_of_node = {"value": value, "max": total, "state": state, "prompt_id": self.id, **who}
        self.progress[node_id] = state_of_node
        if self.executor.configuration.release.has(PROGRESS_STATE):
            nodes = {"prompt_id": self.id, "nodes": dict(self.progress)}
            self.executor.server.send_sync("progress_state", nodes, self.executor.server.client_id)


def _explain(error: Exception, inputs: Mapping[str, Any], prompt: Prompt) -> dict[str, Any]:
    """Log a node's error, and return what the job's record says of it."""
    _log.error("!!! Exception during processing !!! %s", error)
    _log.error("%s", "".join(traceback.format_exception(error)))
    tip = ""
    if isinstance(error, OutOfMemoryError):
        tip = _OUT_OF_MEMORY_TIP
        _log.error("Got an OOM, unloading all loaded models.")
    return {
        "exception_message": f"{error}\n{tip}",
        "exception_type": full_name(type(error)),
        "traceback": traceback.format_tb(error.__traceback__),
        "current_inputs": {name: [_plain(value)] for name, value in inputs.items()},
        "current_outputs": list(prompt),  # so ComfyUI calls them, whether or not they have any
    }


def _plain(value: object) -> object:
    """Return a value as JSON can show it."""
    return value if value is None or isinstance(value, (int, float, str)) else str(value)
