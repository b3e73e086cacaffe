"""How large a journal grows with jobs that have ended, and how long it takes to open it."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
import statistics
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from comfy_supervisor.extension.comfy_supervisor_bridge import journal as bridge
from comfy_supervisor.extension.comfy_supervisor_bridge import life, rows, store
from comfy_supervisor.jobs.journal import Journal

from .bridges import Graph, folder, large, milliseconds, sleeper, verdict
from .report import Report, load, note, table

SIZES = (1_000, 10_000, 100_000, 1_000_000)
"""Jobs of a journal, with small graphs."""
JOBS = 100_000
"""So many have a bound, and are measured with large graphs, too."""
AT_ONCE = 20
"""Jobs that wait at a time."""
MOST_MIB = 50
MOST = 0.1
"""Seconds."""
TURNS = 9
MIB = 1024 * 1024
QUESTIONS: dict[str, Callable[[Journal], object]] = {
    "newest life": Journal.newest_life,
    "what to submit": Journal.to_submit,
    "counts": Journal.tally,
}
HEADER = ("jobs", "graph", "size", "at most", "holds", "opened, asked", "at most", "holds", "not in memory", *QUESTIONS)
_HOW = f"""\
A journal of so many jobs, written by the extension's own statements ({AT_ONCE} waiting at a time, one in ten failed
with a note): its size with its log (`-wal`) after a checkpoint, while a writer has it open. Then it is opened and
asked for the newest life, for what is to be submitted, and for the counts: the median of {TURNS} times, with the file
in the kernel's memory, then dropped from there; and what each question takes, the first with the opening."""


def measure() -> Report:
    """Measure with small graphs, which lie within their rows, and with large ones."""
    before, shown, missed = load(), [], []
    for jobs, graph in (*((size, sleeper(1, 1)) for size in SIZES), (JOBS, large())):
        kilobytes = f"{len(json.dumps(graph)) / 1000:.1f} kB"
        note(f"jobs: a journal of {jobs} jobs, {kilobytes} each")
        with folder() as home, closing(_filled(home, graph, jobs)):
            size = sum(file.stat().st_size for file in home.iterdir()) / MIB
            warm, cold = (_median(home, is_cold) for is_cold in (False, True))
            each = _each(home)
        bound = jobs == JOBS
        large_or_not = (f"{size:.1f} MiB", *((f"{MOST_MIB} MiB", verdict(size <= MOST_MIB)) if bound else ("", "")))
        times = (milliseconds(warm), *((milliseconds(MOST), verdict(warm <= MOST)) if bound else ("", "")))
        shown.append((f"{jobs:,}", kilobytes, *large_or_not, *times, milliseconds(cold), *map(milliseconds, each)))
        missed += [f"the journal's size, {kilobytes}"] * (bound and size > MOST_MIB)
        missed += [f"opening the journal, {kilobytes}"] * (bound and warm > MOST)
    return Report(f"{_HOW}\n\nLoad {before} → {load()}:\n\n{table(HEADER, shown)}", missed)


def _filled(home: Path, graph: Graph, jobs: int) -> sqlite3.Connection:
    """Make a journal of so many jobs; return the connection that has written it."""
    file = str(home / store.NAME)
    extension = bridge.Journal(file, life.this_one(), note)
    assert extension.open()
    extension.take_stock([], [])
    assert extension.ok
    connection, _ = store.connect(file, 5.0)
    connection.execute("PRAGMA synchronous = OFF")  # nobody waits for the disk here
    for first in range(0, jobs, AT_ONCE):
        numbers = range(first, first + AT_ONCE)
        batch: list[rows.Item] = [(float(number), str(uuid.uuid4()), graph, {}, ["1"]) for number in numbers]
        connection.execute("BEGIN IMMEDIATE")
        values = [rows.row(job, "queued", 1) for job in batch]
        connection.executemany(rows.ACCEPT, values)
        connection.executemany(rows.BODY, values)
        connection.execute("COMMIT")
        for number, prompt_id, *_ in batch:
            failed = number % 10 == 0
            end = {"state": "failed" if failed else "done", "note": "CUDA out of memory. " * 5 if failed else ""}
            connection.execute(rows.END, {"prompt_id": prompt_id, "now": time.time(), **end})
    connection.execute("PRAGMA wal_checkpoint").fetchall()
    return connection


def _median(home: Path, is_cold: bool) -> float:
    """Return how many seconds it takes to open the journal and ask it everything."""
    times = []
    for _ in range(TURNS):
        if is_cold:
            _drop(home)
        began = time.perf_counter()
        _ask(home)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _ask(home: Path) -> list[float]:
    """Open the journal and ask it; return when each answer was there."""
    journal, times = Journal(home), [time.perf_counter()]
    for question in QUESTIONS.values():
        question(journal)
        times.append(time.perf_counter())
    journal.close()
    return times


def _each(home: Path) -> list[float]:
    """Return what each question takes in the median; the first opens the file."""
    turns = [_ask(home) for _ in range(TURNS)]
    taken = [[late - early for early, late in itertools.pairwise(turn)] for turn in turns]
    return [statistics.median(seconds) for seconds in zip(*taken, strict=True)]


def _drop(home: Path) -> None:
    """Have the kernel forget what it has of the files."""
    for file in home.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
