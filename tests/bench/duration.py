"""What the extension costs a job: its time, from its submission to the word that it is over, with it and without it."""

from __future__ import annotations

import asyncio
import statistics
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import aiohttp

from tests.comfyui_server import Server

from .bridges import Graph, kinds, milliseconds, servers, sleeper, verdict, whose
from .report import Report, load, note, table

JOBS = {"sleeps": 20, "computes": 100}
"""For each of the servers; one that computes takes now longer, now less."""
STEPS = 30
SECONDS = 0.6
MOST_TIMES = 1.01
_EXTENDED = (False, True, False, True)
HEADER = ("whose", "its job", "without", "with", "more", "ratio", "at most", "holds", "by chance")
_HOW = f"""\
Four servers side by side, two without the extension and two with it, in turns: one job at a time, of {STEPS} steps
with progress, from the submission to the message that it is over. Within that, the extension writes three times, and
waits for the disk once: at the submission. The ratio is that of the medians; "by chance" is the larger one of two
servers that are alike, and a ratio within that tells nothing. One job sleeps ({JOBS["sleeps"]} for each server); the
other adds numbers, always as many, and takes longer where others want the core ({JOBS["computes"]} for each)."""


@dataclass
class Client:
    """Who waits for the jobs of one server, and what was seen."""

    server: Server
    session: aiohttp.ClientSession
    socket: aiohttp.ClientWebSocketResponse
    client_id: str
    seconds: list[float] = field(default_factory=list)

    async def do(self, graph: Graph) -> None:
        """Have a job done, and note what it took."""
        began = perf_counter()
        job = {"prompt": graph, "client_id": self.client_id}
        async with self.session.post(f"{self.server.url}/prompt", json=job) as answer:
            prompt_id = (await answer.json())["prompt_id"]
        await asyncio.wait_for(self._over(prompt_id), 60)
        self.seconds.append(perf_counter() - began)

    async def _over(self, prompt_id: str) -> None:
        async for message in self.socket:
            event: dict[str, Any] = message.json() if message.type is aiohttp.WSMsgType.TEXT else {}
            data = event.get("data", {})
            if event.get("type") == "executing" and data["node"] is None and data["prompt_id"] == prompt_id:
                return
        raise AssertionError(f"the connection was closed\n{self.server.log}")


def measure() -> Report:
    """Measure all kinds."""
    before, rows, missed = load(), [], []
    for kind in kinds():
        jobs = {"sleeps": sleeper(SECONDS, STEPS)}
        if kind.real:
            jobs["computes"] = {"1": {"class_type": "BenchCompute", "inputs": {"steps": STEPS}}}
        with servers(kind, *_EXTENDED) as started:
            for name, graph in jobs.items():
                note(f"jobs: {len(_EXTENDED) * JOBS[name]} jobs for {whose(kind)}, each {name}")
                clients = asyncio.run(_done(started, graph, JOBS[name]))
                holds, row = _row(clients)
                rows.append((whose(kind), name, *row))
                if holds == verdict(False):
                    missed.append(f"a job's time in {whose(kind)}, {name}")
    return Report(f"{_HOW}\n\nLoad {before} → {load()}:\n\n{table(HEADER, rows)}", missed)


async def _done(started: Sequence[Server], graph: Graph, jobs: int) -> list[Client]:
    """Have each of them do so many jobs, in turns; the first of each is not counted."""
    async with aiohttp.ClientSession() as session, AsyncExitStack() as stack:
        clients = []
        for server in started:
            name = uuid.uuid4().hex
            socket = await stack.enter_async_context(session.ws_connect(f"{server.url}/ws?clientId={name}"))
            clients.append(Client(server, session, socket, name))
            await clients[-1].do(graph)
            clients[-1].seconds = []
        for turn in range(jobs):
            for place in range(len(clients)):
                await clients[(turn + place) % len(clients)].do(graph)
    return clients


def _row(clients: Sequence[Client]) -> tuple[str, tuple[str, ...]]:
    """Return whether the bound holds, and what is shown."""
    alike = clients[0::2], clients[1::2]
    without, bridged = (statistics.median([*one.seconds, *other.seconds]) for one, other in alike)
    ratio, chance = bridged / without, max(_apart(one, other) for one, other in alike)
    holds = "can't be told" if max(MOST_TIMES, ratio) < chance else verdict(ratio <= MOST_TIMES)
    times = (*map(milliseconds, (without, bridged, bridged - without)), f"{ratio:.3f}", f"{MOST_TIMES:g}")
    return holds, (*times, holds, f"{chance:.3f}")


def _apart(one: Client, other: Client) -> float:
    """Return how far the medians of two are from each other, as a ratio."""
    ratio = statistics.median(one.seconds) / statistics.median(other.seconds)
    return max(ratio, 1 / ratio)
