"""What the extension costs a client that submits a job: ``POST /prompt`` with it and without it."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection

from tests.comfyui_server import Kind, Server

from .bridges import LONG, Graph, kinds, large, milliseconds, percentile, servers, sleeper, verdict, whose
from .report import Report, load, note, table

REQUESTS = 400
"""To each of the two, of each size."""
MOST = 0.005
"""Seconds that the median may grow by."""
HEADER = ("whose", "graph", "", "without", "with", "more", "at most", "holds")
_HOW = f"""\
Two servers side by side, with and without, each busy with a job so that the others only wait: `POST /prompt` in turns
(A B B A …) over one connection each, {REQUESTS} of each size to each. Before it answers, the extension has the job on
the disk."""


def measure() -> Report:
    """Measure all kinds."""
    before, rows, missed = load(), [], []
    for kind in kinds():
        note(f"jobs: submissions to {whose(kind)}")
        for size, without, bridged in _measured(kind):
            more = statistics.median(bridged) - statistics.median(without)
            rows += _rows((whose(kind), size), without, bridged, more)
            if more > MOST:
                missed.append(f"POST /prompt of {whose(kind)}, {size}")
    return Report(f"{_HOW}\n\nLoad {before} → {load()}:\n\n{table(HEADER, rows)}", missed)


def _rows(what: Sequence[str], without: Sequence[float], bridged: Sequence[float], more: float) -> list[Sequence[str]]:
    a, b = percentile(without, 99), percentile(bridged, 99)
    medians = (statistics.median(without), statistics.median(bridged), more, MOST)
    return [
        (*what, "p50", *map(milliseconds, medians), verdict(more <= MOST)),
        (*what, "p99", *map(milliseconds, (a, b, b - a)), "", ""),
    ]


def _measured(kind: Kind) -> Iterator[tuple[str, list[float], list[float]]]:
    """Give each size of a graph, and the seconds that its submissions took: without, and with the extension."""
    with servers(kind, False, True) as both:
        for server in both:
            server.until_running(server.submit(sleeper(LONG, 1)))
        for graph in (sleeper(1, 1), large()):
            yield (f"{len(json.dumps(graph)) / 1000:.1f} kB", *_in_turns(both, graph))


def _in_turns(both: Sequence[Server], graph: Graph) -> tuple[list[float], list[float]]:
    connections = [HTTPConnection("127.0.0.1", server.port, timeout=30) for server in both]
    body = json.dumps({"prompt": graph}).encode()
    found: tuple[list[float], list[float]] = ([], [])
    for turn in range(REQUESTS):
        for place in (0, 1) if turn % 2 else (1, 0):
            found[place].append(submitted(connections[place], body))
    for connection in connections:
        connection.close()
    return found


def submitted(connection: HTTPConnection, body: bytes) -> float:
    """Submit a job; return the seconds until that was answered."""
    began = time.perf_counter()
    connection.request("POST", "/prompt", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    took = time.perf_counter() - began
    assert answer.status == 200, text
    return took
