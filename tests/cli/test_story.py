"""What `up` tells, from one look at the instances to the next."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from comfy_supervisor.cli.story import QUIET, SHORT, SILENCE, Story
from comfy_supervisor.health.senses.probe import Answer
from comfy_supervisor.launch import holds
from comfy_supervisor.rendered import Rendered
from comfy_supervisor.status import Status

READY = Answer(ready=True, queue=0)
REFUSED = Answer(ready=False, error="connection refused")


def seen(
    state: str = "RUNNING", pid: int = 7, answer: Answer = REFUSED, text: str = "", name: str = "comfyui"
) -> Status:
    folder = Path("/x")
    instance = Rendered(name, "gpu0", ("127.0.0.1:8188",), folder, folder, folder / "log", "0")
    return Status(instance, state, text, pid, 0.0, answer)


def backing_off(left: float, reason: str = holds.BACKOFF, pid: int = 7) -> Status:
    """One that the launcher holds back for ten seconds, so many of which are left."""
    hold = holds.Hold(reason, "next start in 10 s", 0.0, 10.0, by=holds.LAUNCHER)
    return replace(seen(state="HELD", pid=pid, text=f"next start in {left:.0f} s"), hold=hold, left=left)


def told(*history: tuple[float, Status]) -> tuple[Story, list[str]]:
    """Return the story and all its lines, from looks at given times; the log never moves."""
    story = Story()
    return story, [line for now, status in history for line in story.tell([status], {}, now)]


def test_a_start_is_told_with_the_time_it_took() -> None:
    story, lines = told((0, seen(pid=0, state="STARTING")), (1, seen()), (4, seen()), (7.2, seen(answer=READY)))
    assert lines == [
        "comfyui: starting",
        "comfyui: process up (pid 7)",
        "comfyui: importing",
        "comfyui: API ready in 6.2 s: http://127.0.0.1:8188",
    ]
    assert story.all_ready
    assert story.line(8) == ""


def test_the_living_line_counts_the_seconds() -> None:
    story, _ = told((0, seen()), (3, seen()))
    assert story.line(3.5) == "comfyui: importing, 3.5 s"


def test_a_death_and_the_next_start_are_told() -> None:
    story, lines = told((0, seen()), (2, seen(answer=READY)), (9, seen(pid=8)), (10, seen(pid=8, answer=READY)))
    assert lines[3:] == [
        "comfyui: process 7 ended",
        "comfyui: process up (pid 8)",
        "comfyui: importing",
        "comfyui: API ready in 1.0 s: http://127.0.0.1:8188",
    ]
    assert story.all_ready


def test_a_hold_is_told_with_its_reason() -> None:
    held = seen(state="HELD", text="port 8188 is held by nginx (pid 3)")
    story, lines = told((0, held))
    assert lines[-1] == "comfyui: held: port 8188 is held by nginx (pid 3)"
    assert story.gave_up_on([held], 0) == ["comfyui"]


def test_a_hold_that_counts_down_is_told_once_and_lives_below() -> None:
    story, lines = told((0, backing_off(10)), (1, backing_off(9)), (2, backing_off(8)))
    assert [line for line in lines if "held" in line] == ["comfyui: held: next start in 10 s"]
    assert story.line(2.2) == "comfyui: held: next start in 8 s"


def test_a_short_backoff_that_is_found_is_waited_for() -> None:
    """As of a ComfyUI that died twice before supervisord was started anew."""
    story, _ = told((0, backing_off(SHORT)))
    assert story.gave_up_on([backing_off(SHORT)], 0) == []
    story.tell([seen()], {}, SHORT)
    assert story.gave_up_on([seen()], SHORT) == []


def test_a_long_one_is_not_nor_another_hold_nor_one_after_a_death() -> None:
    for held in (backing_off(SHORT + 1), backing_off(5, holds.GAVE_UP)):
        story, _ = told((0, held))
        assert story.gave_up_on([held], 0) == ["comfyui"]
    story, _ = told((0, seen(pid=6)), (1, backing_off(5)))
    assert story.gave_up_on([backing_off(5)], 1) == ["comfyui"]


def test_the_time_that_it_was_held_is_none_of_its_start() -> None:
    _, lines = told((0, backing_off(10)), (9.5, backing_off(0)), (11, seen()), (12, seen(answer=READY)))
    assert lines[-2:] == ["comfyui: importing", "comfyui: API ready in 2.5 s: http://127.0.0.1:8188"]


def test_a_death_before_the_api_answered_makes_the_next_start_another_try() -> None:
    _, lines = told((0, seen(pid=1)), (2, seen(pid=2)))
    assert lines[-1] == "comfyui: importing, try 2"


def test_a_supervisord_that_is_about_to_end_is_not_called_silent() -> None:
    silent = seen(state="DOWN", pid=0, text="it does not answer")
    story, lines = told((0, seen()), (1, seen(answer=READY)), (2, silent), (2 + SILENCE - 0.1, silent))
    assert lines[3:] == []
    assert story.tell([silent], {}, 2 + SILENCE) == ["comfyui: it does not answer"]
    assert story.tell([silent], {}, 99) == []
    assert story.tell([seen(answer=READY)], {}, 100) == ["comfyui: supervisord answers again"]


def test_a_slow_start_is_waited_for_while_its_log_moves() -> None:
    story = Story()
    for minute in range(60):
        story.tell([seen()], {"comfyui": minute}, minute * 60.0)
        assert story.gave_up_on([seen()], minute * 60.0) == []


def test_a_silent_start_is_not_waited_for_without_end() -> None:
    story, _ = told((0, seen()))
    assert story.gave_up_on([seen()], QUIET - 1) == []
    assert story.gave_up_on([seen()], QUIET + 1) == ["comfyui"]


def test_two_deaths_in_a_row_are_enough() -> None:
    story, _ = told((0, seen(pid=1)), (1, seen(pid=2)))
    assert story.gave_up_on([seen(pid=2)], 1) == []
    story.tell([seen(pid=3)], {}, 2)
    assert story.gave_up_on([seen(pid=3)], 2) == ["comfyui"]


def test_one_that_was_ready_may_die_again_and_again() -> None:
    """The count is of deaths before the API answered."""
    story, _ = told((0, seen(pid=1)), (1, seen(pid=1, answer=READY)), (2, seen(pid=2)), (3, seen(pid=2, answer=READY)))
    story.tell([seen(pid=3)], {}, 4)
    assert story.gave_up_on([seen(pid=3)], 4) == []


def test_several_are_told_by_name() -> None:
    story = Story()
    both = [seen(name="comfyui:gpu0", answer=READY), seen(name="comfyui:gpu1")]
    lines = story.tell(both, {}, 0)
    assert [line.split(" ")[0] for line in lines] == ["comfyui:gpu0:"] * 2 + ["comfyui:gpu1:"] * 2
    assert not story.all_ready
    assert story.line(1) == "comfyui:gpu1: importing, 1.0 s"
