"""The checklist asks whatever has the port, and the journal is handed whatever is in a log."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import event, example, given
from hypothesis import strategies as st

from comfy_supervisor import journald
from comfy_supervisor.check import device, generation, latency, vram, workflow
from comfy_supervisor.check.line import Line
from comfy_supervisor.check.vram import STATS, Watch
from comfy_supervisor.cli.check import _lines
from comfy_supervisor.errors import UserError
from comfy_supervisor.jobs.comfy import Comfy

from . import bounded, damaged, dumped, examples, scalars, values, words
from .test_answers import GRAPH, ID, Client, answers

PARTS = st.sampled_from(["execution_start", "execution_success", "execution_error", "execution_cached"])
told = st.one_of(
    scalars,
    values,
    st.fixed_dictionaries({}, optional={"timestamp": scalars, "nodes": values, "node_type": scalars}),
)
entries = st.one_of(
    values,
    st.fixed_dictionaries({"status": st.one_of(scalars, values)}),
    st.builds(
        lambda word, messages: {"status": {"status_str": word, "messages": messages}},
        st.one_of(st.just("success"), scalars),
        st.one_of(values, st.lists(st.one_of(st.tuples(PARTS, told), st.lists(told, max_size=3)), max_size=4)),
    ),
)
ended = st.builds(lambda entry: [(200, dumped({"prompt_id": ID, "number": 1})), (200, dumped({ID: entry}))], entries)


@contextmanager
def answered(given_: list[tuple[int, bytes]]) -> Iterator[None]:
    """Have these answers be those of ComfyUI, over and over."""
    comfy = Comfy("http://127.0.0.1:1")
    comfy._client = Client(given_)  # type: ignore[assignment]
    with ExitStack() as stack:
        for module in (device, generation, latency, vram):
            stack.enter_context(patch.object(module, "Client", lambda *_: Client(given_)))
        stack.enter_context(patch.object(generation, "Comfy", lambda _: comfy))
        stack.enter_context(patch.object(generation, "_POLL", 0.001))
        yield


def shown(line: Line) -> None:
    """Assert that a line can be printed, and be read as JSON."""
    for text in _lines(line):
        assert text.encode()
        assert "\x1b" not in text.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[33m", "").replace(
            "\x1b[0m", ""
        )
    json.dumps(dict(line.figures), allow_nan=False)


@examples(200)
@given(st.one_of(answers, ended))
@example([(200, dumped({"prompt_id": ID})), (200, dumped({ID: {"status": {"messages": [["execution_error", None]]}}}))])
@example([(200, dumped({"prompt_id": ID})), (200, dumped({ID: {"status": "x"}}))])
@example([(200, dumped({"prompt_id": "\x1b[2J/../\ud800"})), (200, b"{}")])
def test_each_item_is_judged_whatever_is_answered(given_: list[tuple[int, bytes]]) -> None:
    with answered(given_), bounded():
        generated = generation.run("", GRAPH, Watch(STATS, lambda: vram._by_comfyui("")), patience=0.01)
        lines = (
            generation.judge(generated, on_cpu=False),
            device.judge(device.look(""), cpu_meant=False, standin=False),
            latency.judge(latency.measure(""), 1),
        )
    event(f"{lines[0].verdict.value}: {lines[0].found[:30]}")
    for line in lines:
        shown(line)


@examples(300)
@given(entries)
@example({"status": {"status_str": "success", "messages": [["execution_start", {"timestamp": "a"}]]}})
@example({"status": {"messages": [["execution_cached", {"nodes": 5}]]}})
@example(
    {"status": {"messages": [["execution_start", {"timestamp": 1}], ["execution_success", {"timestamp": 10**400}]]}}
)
@example({"status": {"messages": [[["execution_start"], {}]]}})
def test_a_history_of_anything_is_understood_or_that_is_said(entry: Any) -> None:
    entry = entry if isinstance(entry, dict) else {"status": entry}
    shown(generation.judge(generation.understood(entry, generation.Run(1.0, 2)), on_cpu=True))


@examples(150)
@given(st.one_of(damaged(dumped(GRAPH)), values.map(dumped), st.just(b"[" * 100_000), st.binary(max_size=50)))
def test_a_workflow_of_anything_is_read_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder, bounded():
        file = Path(folder) / "a.json"
        file.write_bytes(content)
        with suppress(UserError):
            dumped(workflow.renewed(workflow.read(file), 1))


pieces = st.one_of(
    st.binary(max_size=40),
    words.map(lambda text: text.encode(errors="replace")),
    st.sampled_from([b"\n", b"\r", b"\r\n", b"\x1b[2J", b"a" * 30_000, b"\r" * 60_000, b"\n" * 1000, b"\0" * 70_000]),
)


@examples(200)
@given(st.lists(pieces, max_size=12))
def test_the_journal_is_handed_lines_that_it_takes(chunks: list[bytes]) -> None:
    with bounded():
        lines = list(journald.lines(chunks))
    for line in lines:
        assert line.endswith(b"\n")
        assert len(line) <= journald.LONGEST + 1
        assert line.strip()
        assert not set(line) & {*range(9), *range(11, 32), 127}


def test_a_line_without_an_end_takes_neither_time_nor_memory() -> None:
    with bounded():
        assert sum(map(len, journald.lines([b"abcd"] * 200_000))) >= 800_000 - journald.LONGEST
