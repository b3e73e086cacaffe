"""supervisord's event lines, of anything: each event is answered once, nothing else is written, and nothing raises."""

from __future__ import annotations

import io

from hypothesis import event, example, given
from hypothesis import strategies as st

from comfy_supervisor.health import protocol

from . import bounded, damaged, examples, words

PAYLOAD = b"processname:comfyui groupname:comfyui from_state:RUNNING expected:0 pid:2766"
HEADER = (
    b"ver:3.0 server:supervisor serial:21 pool:comfyui-health poolserial:10 eventname:PROCESS_STATE_EXITED len:%d\n"
)
WELL = HEADER % len(PAYLOAD) + PAYLOAD
sizes = st.one_of(
    st.integers(-5, 300).map(str), st.just("9" * 5000), st.sampled_from(["", "٣", "²", "1e3", "0x10", "+1"])
)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """Give an event, as far as it is one: any header, any size, any body."""
    header = " ".join(draw(st.lists(st.one_of(words, st.just("eventname:TICK_5")), max_size=4)))
    return f"{header} len:{draw(sizes)}\n".encode(errors="replace") + draw(st.binary(max_size=80))


@examples(500)
@given(st.lists(st.one_of(lines(), st.binary(max_size=60), damaged(WELL), st.just(WELL)), max_size=6).map(b"".join))
@example(b"len:" + b"9" * 5000 + b"\n" + WELL)
@example(b"ver:3.0 len:\xd9\xa3\nabc" + WELL)
def test_each_event_is_answered_once_and_nothing_else_is_written(content: bytes) -> None:
    channel = io.BytesIO()
    with bounded():
        found = list(protocol.events(io.BytesIO(content), channel))
    event(f"{min(len(found), 3)} events")
    assert channel.getvalue() == b"READY\n" + b"RESULT 2\nOKREADY\n" * len(found)
    for each in found:
        assert isinstance(each.name, str)
        assert isinstance(each.program, str)


def test_an_event_after_one_that_makes_no_sense_is_heard() -> None:
    """As far as lines begin where lines begin: what makes no sense is one line."""
    for nonsense in (b"\n", b"len:x\n", b"len:" + b"9" * 5000 + b"\n", b"\xff\xfe\n", b"len:-1\n"):
        (found,) = protocol.events(io.BytesIO(nonsense + WELL), io.BytesIO())
        assert (found.name, found.program) == ("PROCESS_STATE_EXITED", "comfyui")
