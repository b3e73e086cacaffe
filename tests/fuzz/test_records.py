"""The small files, of anything: heartbeats, holds, starts, what is remembered. Read, or said to make no sense."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from comfy_supervisor import codec, instances
from comfy_supervisor.errors import UserError
from comfy_supervisor.figures import looks
from comfy_supervisor.health import intent, ledger, watched
from comfy_supervisor.health.audit import audit
from comfy_supervisor.health.policy.evidence import Life, Observation, State
from comfy_supervisor.health.policy.judge import judge
from comfy_supervisor.health.policy.rules import Rules
from comfy_supervisor.health.senses import heartbeat
from comfy_supervisor.incidents import store
from comfy_supervisor.launch import holds, records, starts
from comfy_supervisor.notify import config as notify
from comfy_supervisor.notify.outbox import Outbox
from tests.health.looks import LIFE, seen

from . import bounded, damaged, dumped, examples, scalars, values

NOW = 1000.0
BEAT = asdict(
    heartbeat.Heartbeat(
        LIFE.boot, LIFE.pid, NOW, "alive", prompt_id="a", node="3", class_type="KSampler", total=20.0, progress_at=NOW
    )
)
HOLD = {"v": 1, "reason": "backoff", "text": "short lives", "since": 1.0, "until": 5.0, "by": "launcher", "cause": ""}
START = {"v": 1, "boot_id": "boot", "pid": 7, "at": 5.0, "failures": 2, "lives": 3}
INTENT = {"v": 1, "action": "restart", "life": asdict(LIFE), "boot_id": "boot", "at": 1.0, "step": "asked"}
STATE, VERDICT = judge(State(), seen(), NOW, Rules())
MEMORY = {"v": 1, "memory": codec.plain(ledger.Saved("boot", STATE)), **asdict(ledger.Report("IDLE", NOW, "", "", NOW))}
DECISION = codec.changed(ledger.Decision("2026-01-01T00:00:00+00:00", "cpu", NOW, Rules(), State(), seen(), VERDICT))
RECORD = {"id": "gpu0", "uuid": "GPU-a", "pci": "0000:01:00.0", "port": 8188, "device": ""}
KNOWN = {"v": 1, "records": [RECORD], "devices": "auto", "base_port": 8188, "grouped": False}
WATCHED = watched.Watched("comfyui", "cpu", "http://127.0.0.1:1", 1, "/s", "/r", "/l")
ROSTER = {"v": 1, "instances": [codec.plain(WATCHED)]}
NOTIFY = {"v": 1, **asdict(notify.Config(urls=("env:URL",), webhook="https://x", headers={"A": "b"}))}
LETTER = {
    "v": 1,
    "at": 1.0,
    "message": {"subject": "s", "text": "t", "host": "h", "events": [{"kind": "restart"}]},
    "left": {"notify.webhook": {"tries": 1, "next": 2.0}},
}


def _outbox(folder: Path) -> object:
    box = Outbox(folder)
    return [box.load(), box.entries]


def _state(folder: Path) -> State:
    watch = watched.Watched("comfyui", "cpu", "http://127.0.0.1:1", 1, str(folder), str(folder), "/l")
    state = ledger.Ledger(watch, "boot").recall()
    for later in (0.0, 5.0, 4000.0):  # whatever is remembered, the watch goes on with it
        state, _ = judge(state, seen(), NOW + later, Rules())
    return state


FILES: dict[str, tuple[str, Any, Callable[[Path], object], tuple[type[Exception], ...]]] = {
    "heartbeat": ("heartbeat.json", BEAT, lambda folder: heartbeat.read(str(folder), LIFE, NOW), ()),
    "hold": ("hold.json", HOLD, lambda folder: holds.read(str(folder)), (records.MalformedError,)),
    "start": ("starts.json", START, lambda folder: starts.load(str(folder), "boot", 9.0), (records.MalformedError,)),
    "intent": ("intent.json", INTENT, lambda folder: intent.read(str(folder), "boot"), ()),
    "status": ("status.json", MEMORY, _state, ()),
    "report": ("status.json", MEMORY, lambda folder: ledger.report(folder, NOW), ()),
    "looks": ("decisions.jsonl", DECISION, lambda folder: list(looks.read(folder)), ()),
    "moments": ("decisions.jsonl", DECISION, lambda folder: ledger.moments(folder / "decisions.jsonl", 0.0), ()),
    "audit": (
        "decisions.jsonl",
        DECISION,
        lambda folder: list(audit(folder / "decisions.jsonl")),
        (codec.MalformedError,),
    ),
    "instances": (
        "i",
        KNOWN,
        lambda folder: instances.recall((folder / "i").read_text("latin-1"), folder),
        (UserError,),
    ),
    "roster": ("health.json", ROSTER, lambda folder: watched.read(folder / "health.json"), (UserError,)),
    "notify": ("notify.json", NOTIFY, lambda folder: notify.read(folder / "notify.json"), (OSError, ValueError)),
    "outbox": ("1795513228753-1.json", LETTER, _outbox, ()),
    "incident": ("incident.json", {"v": 1}, lambda folder: store.load(folder, "."), (OSError, codec.MalformedError)),
}
"""By a name: the file's, what it may hold, who reads it, and what that raises where it makes no sense."""


@st.composite
def contents(draw: st.DrawFn, well: Any) -> bytes:
    """Give what may lie in a file's place: all of it, or a part of it, is not what it was."""
    how = draw(st.sampled_from(["damaged", "changed", "other", "bytes"]))
    if how == "damaged":
        return draw(damaged(dumped(well)))
    if how == "other":
        return dumped(draw(values))
    if how == "bytes":
        return draw(st.binary(max_size=100))
    return dumped(_other(draw, json.loads(json.dumps(well))))


def _other(draw: st.DrawFn, value: Any) -> Any:
    """Return a value in which one thing is another."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 9)):
        keys = sorted(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw(st.sampled_from(keys))
        value[key] = _other(draw, value[key])
        return value
    return draw(st.one_of(scalars, values))


@pytest.mark.parametrize("name", FILES)
@examples(150)
@given(st.data())
def test_a_file_of_anything(name: str, data: st.DataObject) -> None:
    file, well, read, errors = FILES[name]
    event(_reads(file, data.draw(contents(well)) + b"\n", read, errors))


def _reads(file: str, content: bytes, read: Callable[[Path], object], errors: tuple[type[Exception], ...]) -> str:
    """Return whether a file makes sense to its reader, which raises nothing but what it says."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, file).write_bytes(content)
        try:
            with bounded():
                read(Path(folder))
        except errors:
            return "makes no sense"
        return "read"


HUGE = "1" + "0" * 400
ODD = [
    (name, content)
    for name, (_, well, _, _) in FILES.items()
    for content in (
        b"",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        dumped(well).replace(b"1.0", HUGE.encode()),
        dumped(well).replace(b"1.0", b"Infinity"),
        b"9" * 5000,
        b"\0",
    )
]


@pytest.mark.parametrize(("name", "content"), ODD, ids=lambda value: value[:12] if isinstance(value, bytes) else value)
def test_a_file_of_what_breaks_readers(name: str, content: bytes) -> None:
    file, _, read, errors = FILES[name]
    _reads(file, content, read, errors)


@pytest.mark.parametrize("name", FILES)
def test_a_file_as_it_should_be_is_read(name: str) -> None:
    """So that what is damaged above is damaged from something."""
    file, well, read, _ = FILES[name]
    if name == "incident":
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, file).write_bytes(dumped(well) + b"\n")
        assert read(Path(folder))


@examples(200)
@given(st.from_type(State), st.from_type(Observation), st.floats(min_value=1.0, max_value=1e9))
@example(State(since=math.nan, restarts=(math.inf,)), seen(), NOW)
def test_the_policy_judges_whatever_is_remembered_and_seen(before: State, looked: Observation, now: float) -> None:
    with bounded():
        after, verdict = judge(before, looked, now, Rules())
    assert isinstance(after, State)
    assert codec.plain(verdict)["word"]


def test_a_life_is_known_by_all_that_it_is_made_of() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "heartbeat.json").write_bytes(dumped(BEAT))
        assert heartbeat.read(folder, Life("boot", LIFE.pid + 1, 1.0, 1), NOW) is None
