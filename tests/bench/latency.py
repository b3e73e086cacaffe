"""What our probes cost ComfyUI's other clients: the latency of ``GET /prompt`` with and without them."""

from __future__ import annotations

import itertools
import json
import os
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from comfy_supervisor.comfyui.version import read_version
from comfy_supervisor.rpc import Failure
from tests.cli.service import Service
from tests.support import wait_until

from .report import Report, load, note, table

SECONDS = 5.5
"""Of a block: long enough for a probe in each."""
PAIRS = 6
"""Blocks with the listener, and as many without."""
MOST_TIMES = 1.1
LISTENER = "comfyui-health"
GRAPH_BYTES = 2_000_000
"""Of the graph of the job that ended last: one with a picture in it."""
_BAR = b"\r 45%|####5     | 9/20 [00:09<00:11,  1.00it/s]"
_JOB = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}, "_meta": {"title": "x" * GRAPH_BYTES}},
}
HEADER = ("whose", "requests", "", "without", "with", "ratio", "at most", "by chance")
_HOW = f"""\
One client asks `GET /prompt` again and again, over one connection, as fast as it is answered: blocks of {SECONDS:g} s
with the listener (default settings) and without it, in turns (A B B A …), the listener started and stopped by
supervisord in between. A job of {GRAPH_BYTES / 1e6:g} MB has ended before, and a progress bar moves in the log each
second. The ratio is the median of those of the {PAIRS} pairs. The last column is what chance makes of it: how far, in
the median, two blocks without the listener are from each other; a ratio within that tells nothing."""

Blocks = Sequence[Sequence[float]]


def measure(_rounds: int) -> Report:
    """Measure the stand-in, and the real ComfyUI that the environment names, if any."""
    before, rows, missed = load(), [], []
    for whose, settings in _kinds():
        note(f"latency: {whose}, about {2 * PAIRS * (SECONDS + 2):.0f} s")
        with _service(settings) as service, _bar(service):
            without, probed = _blocks(service)
        count = sum(map(len, (*without, *probed)))
        for name, percent in (("p50", 50), ("p99", 99)):
            a, b, ratio, chance = _row(without, probed, percent)
            shown = (f"{a * 1e3:.2f} ms", f"{b * 1e3:.2f} ms", f"{ratio:.2f}", f"{MOST_TIMES:g}", f"{chance:.2f}")
            rows.append((whose, str(count), name, *shown))
            if ratio > MOST_TIMES:
                missed.append(f"latency of {whose}, {name}")
    return Report(f"{_HOW}\n\nLoad {before} → {load()}:\n\n{table(HEADER, rows)}", missed)


def _kinds() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "the stand-in", {}
    folder = os.environ.get("COMFYUI_DIR")
    if folder:
        python = os.environ.get("COMFYUI_PYTHON", f"{folder}/venv/bin/python")
        yield f"ComfyUI {read_version(Path(folder))} --cpu", {"directory": folder, "python": python}


@contextmanager
def _service(comfyui: dict[str, Any]) -> Iterator[Service]:
    service = Service(apart=True)
    try:
        service.settings(comfyui=comfyui)
        service.ok("up", "-d")
        yield service
    finally:
        service.close()


@contextmanager
def _bar(service: Service) -> Iterator[None]:
    """Have a job end, and a progress bar move in the log from then on."""
    service.wait_for_api(deadline=120.0)
    service.finished(service.submit(_JOB))
    over = threading.Event()
    with Path(f"/proc/{service.pid()}/fd/2").open("wb", buffering=0) as log:
        bar = threading.Thread(target=lambda: [log.write(_BAR) for _ in iter(lambda: over.wait(1.0), True)])
        bar.start()
        try:
            yield
        finally:
            over.set()
            bar.join()


def _blocks(service: Service) -> tuple[Blocks, Blocks]:
    """Return the seconds that each request took, block by block: without the listener, and with it."""
    found: dict[bool, list[list[float]]] = {False: [], True: []}
    for pair in range(PAIRS):
        for listens in (False, True) if pair % 2 else (True, False):
            _set_listener(service, listens)
            found[listens].append(_ask(service.port))
    return found[False], found[True]


def _set_listener(service: Service, listens: bool) -> None:
    """Have the listener run, and look, or not."""
    at = time.time()
    answer = service.rpc.start(LISTENER) if listens else service.rpc.stop(LISTENER)
    assert not isinstance(answer, Failure), answer
    if listens:
        status = service.state / "cpu" / "status.json"
        wait_until(lambda: not answer or json.loads(status.read_text())["at"] > at, what="the listener's first look")
    time.sleep(0.5)  # the end of its start or stop is no part of what is measured


def _ask(port: int) -> list[float]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    times, end = [], time.monotonic() + SECONDS
    while time.monotonic() < end:
        began = time.perf_counter()
        connection.request("GET", "/prompt")
        connection.getresponse().read()
        times.append(time.perf_counter() - began)
    connection.close()
    return times


def _row(without: Blocks, probed: Blocks, percent: int) -> tuple[float, float, float, float]:
    """Return the latency without and with the listener, their ratio, and the ratio that chance makes."""
    a, b = (_percentiles(blocks, percent) for blocks in (without, probed))
    ratio = statistics.median(late / early for early, late in zip(a, b, strict=True))
    chance = statistics.median(max(one / next_one, next_one / one) for one, next_one in itertools.pairwise(a))
    return statistics.median(a), statistics.median(b), ratio, chance


def _percentiles(blocks: Blocks, percent: int) -> list[float]:
    return [statistics.quantiles(block, n=100)[percent - 1] for block in blocks]
