"""Messages and their schedule: pure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from comfy_supervisor.launch.lastword import cut
from comfy_supervisor.notify.collect import MOST, Collector, delay
from comfy_supervisor.notify.message import LONGEST_SUBJECT, Event, Kind, compose

WORDS = st.text(max_size=2000)
EVENTS = st.builds(
    Event, st.sampled_from(Kind), WORDS, st.floats(0, 2e9), WORDS, WORDS, WORDS, WORDS, st.integers(1, 9)
)


def event(kind: Kind, at: float = 0.0, instance: str = "comfyui", cause: str = "") -> Event:
    return Event(kind, instance, at, "because", cause)


def test_the_most_urgent_is_in_the_subject() -> None:
    events = [event(Kind.RESTART, cause="stalled"), event(Kind.GAVE_UP, 5.0, cause="segfault")]
    assert compose(events, "box").subject == "box: comfyui given up (segfault)"


def test_that_it_works_again_is_in_the_subject_too() -> None:
    events = [event(Kind.RESTART, cause="stalled"), event(Kind.RECOVERY, 14.0)]
    assert compose(events, "box").subject == "box: comfyui restarted (stalled); works again"
    assert "works again" not in compose([*events[::-1][1:], event(Kind.GAVE_UP, 20.0)], "box").subject


def test_several_instances_are_counted() -> None:
    events = [event(Kind.RESTART, instance=f"comfyui:gpu{number}") for number in range(3)]
    assert compose(events, "box", 7).subject == "box: 3 instances; restarted: 3"
    assert "7 more" in compose(events, "box", 7).text


@given(st.lists(EVENTS, min_size=1, max_size=5))
def test_whatever_others_have_said_nothing_gets_through_that_a_terminal_obeys(events: list[Event]) -> None:
    message = compose(events, "box")
    assert message.subject.isprintable()
    assert len(message.subject) <= LONGEST_SUBJECT
    assert message.text.replace("\n", "").isprintable()


def test_a_long_text_is_cut() -> None:
    assert cut("a\nb\x1b[1m", 4) == "a b…"


class TestCollector:
    def test_a_message_is_due_after_the_time_to_collect(self) -> None:
        collector = Collector()
        assert collector.due(0.0, 30.0) is None
        collector.add(event(Kind.RESTART), 100.0)
        collector.add(event(Kind.RESTART), 120.0)
        assert collector.due(121.0, 30.0) == 9.0
        assert collector.due(130.0, 30.0) == 0.0
        collector.clear()
        assert collector.due(131.0, 30.0) is None

    def test_a_clock_that_was_set_back_makes_nobody_wait(self) -> None:
        collector = Collector()
        collector.add(event(Kind.RESTART), 100.0)
        assert collector.due(-5000.0, 30.0) == 0.0

    @given(st.lists(EVENTS, max_size=80))
    def test_no_event_is_lost_and_it_stays_small(self, events: list[Event]) -> None:
        collector = Collector()
        for each in events:
            collector.add(each, 0.0)
        counted = sum(each.count for each in collector.events.values()) + collector.left_out
        assert counted == sum(each.count for each in events)
        assert len(collector.events) <= MOST
        again = Collector()
        if events:
            again.restore(collector.values())
            assert again.values() == collector.values()


def test_tries_become_rarer_and_never_cease() -> None:
    waits = [delay(tries) for tries in range(1, 100)]
    assert waits[:3] == [5.0, 10.0, 20.0]
    assert waits == sorted(waits)
    assert waits[-1] == 600.0
