"""The backoff is a pure function of the last start and of what is known of its end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_supervisor.launch import starts
from comfy_supervisor.launch.records import MalformedError
from comfy_supervisor.launch.starts import Backoff, Start

USUAL = Backoff()
CRASH = "exited: exit status 2; not expected"


def after(failures: int) -> Start:
    return Start("boot", pid=1, at=0.0, failures=failures)


def test_delays_double_up_to_the_most() -> None:
    assert [USUAL.delay(count) for count in range(9)] == [0, 0, 10, 20, 40, 80, 160, 300, 300]


@given(st.integers(0, 10**9), st.floats(0.01, 1e6), st.floats(1, 1e6))
def test_no_delay_is_ever_longer_than_the_most(failures: int, first: float, factor: float) -> None:
    numbers = Backoff(first, first * factor)
    assert 0 <= numbers.delay(failures) <= numbers.delay(failures + 1) <= numbers.most


@pytest.mark.parametrize(
    ("lived", "ending", "count"),
    [
        (5, CRASH, 3),
        (5, "exited: terminated by SIGKILL; not expected", 3),
        (5, "", 3),
        (599, CRASH, 3),
        (600, CRASH, 0),
        (5, "stopped: exit status 0", 0),
        (5, "stopped: terminated by SIGKILL", 0),
        (60, "exited: exit status 0; expected", 2),
        (60, "exited: exit status 0; not expected", 2),
        (5, "exited: exit status 0; expected", 3),
    ],
)
def test_which_ends_count(lived: float, ending: str, count: int) -> None:
    assert starts.failures(after(2), lived, ending, USUAL) == count


def test_numbers_are_read_from_a_text() -> None:
    assert vars(starts.backoff("0.5:2:60")) == {"first": 0.5, "most": 2, "healthy": 60}
    assert vars(starts.backoff("")) == vars(USUAL)


@pytest.mark.parametrize(
    "text", ["10", "a:b:c", "10:5:600", "0:5:600", "-1:5:6", "nan:5:6", "1:inf:6", "1:2:nan", "::"]
)
def test_numbers_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"FIRST|could not convert|unpack"):
        starts.backoff(text)


def test_a_start_is_remembered_within_one_boot(tmp_path: Path) -> None:
    starts.save(str(tmp_path), Start("this", 123, 45.5, 6, 7))
    found = starts.load(str(tmp_path), "this", now=50.0)
    assert found
    assert vars(found) == {"boot_id": "this", "pid": 123, "at": 45.5, "failures": 6, "lives": 7}
    assert starts.load(str(tmp_path), "another", now=50.0) is None


def test_nothing_remembered_is_nothing(tmp_path: Path) -> None:
    assert starts.load(str(tmp_path), "this", now=50.0) is None
    assert starts.load(str(tmp_path / "none"), "this", now=50.0) is None
    starts.forget(str(tmp_path))


def test_a_start_in_the_future_is_malformed(tmp_path: Path) -> None:
    starts.save(str(tmp_path), Start("this", 123, 100.0, 6))
    with pytest.raises(MalformedError, match="future"):
        starts.load(str(tmp_path), "this", now=50.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@given(st.binary() | st.dictionaries(st.sampled_from(["boot_id", "at", "pid", "failures"]), JSON | st.just("this")))
def test_any_content_is_a_start_or_malformed(tmp_path_factory: pytest.TempPathFactory, content: object) -> None:
    folder = tmp_path_factory.getbasetemp()
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder / "starts.json").write_bytes(raw)
    try:
        found = starts.load(str(folder), "this", now=50.0)
    except MalformedError:
        return
    if found:
        assert 0 <= found.at <= 50
        assert 0 <= found.failures <= 1000
