"""Uptime and restarts, from what the listener decided."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_supervisor.figures.health import UNSEEN, Restarts, Times, restarts, times
from comfy_supervisor.figures.looks import Look
from comfy_supervisor.health.gaps import Gap
from comfy_supervisor.health.policy.evidence import Word

FIRST, SECOND, THIRD = (("boot", pid, float(pid)) for pid in (7, 8, 9))
WORDS = [word.value for word in Word]


def idle(at: float, process: tuple[str, int, float] = FIRST, lives: int = 1) -> Look:
    return Look(at, "IDLE", process=process, before=process, lives=lives)


def restart(at: float, cause: str = "stalled", lives: int = 1) -> Look:
    return Look(at, "RESTARTING", "restart", cause, FIRST, FIRST, lives=lives, undetected=4.0)


def death(at: float, ending: str | None, lives: int = 2) -> Look:
    return Look(at, "STARTING", process=SECOND, before=FIRST, ending=ending, lives=lives)


class TestTimes:
    def test_nothing_known_is_unknown_and_has_no_share(self) -> None:
        found = times([], [], 0.0, 100.0)
        assert found == Times(unknown=100.0)
        assert found.share is None

    def test_each_word_holds_until_the_next(self) -> None:
        looks = [idle(10), Look(50, "SUSPECT"), Look(60, "BUSY"), Look(80, "STOPPED"), Look(90, "BLIND")]
        found = times(looks, [], 0.0, 100.0)
        assert found == Times(up=60.0, down=10.0, stopped=10.0, unknown=20.0)
        assert found.share == pytest.approx(60 / 80)

    def test_time_in_which_nobody_looked_is_never_up(self) -> None:
        assert times([idle(0)], [Gap(20, 50), Gap(40, 70)], 0.0, 100.0) == Times(up=50.0, unknown=50.0)

    def test_what_was_before_holds_at_the_beginning(self) -> None:
        assert times([idle(-500)], [], 0.0, 100.0) == Times(up=100.0)

    @given(
        st.lists(st.tuples(st.floats(-50, 150), st.sampled_from(WORDS))),
        st.lists(st.tuples(st.floats(-50, 150), st.floats(0, 50))),
    )
    def test_no_second_is_lost_or_counted_twice(
        self, changes: list[tuple[float, str]], lost: list[tuple[float, float]]
    ) -> None:
        gaps = [Gap(begin, begin + length) for begin, length in lost]
        looks = [Look(at, word) for at, word in changes]
        found = times(looks, gaps, 0.0, 100.0)
        assert sum(vars(found).values()) == pytest.approx(100.0)
        assert found.up <= times(looks, [], 0.0, 100.0).up + 1e-9


class TestRestarts:
    def test_without_an_end_there_is_none(self) -> None:
        assert restarts([idle(0), Look(50, "BUSY", process=FIRST, before=FIRST, lives=1)], [], 0.0) == Restarts()

    def test_what_the_listener_ended_has_its_cause_and_its_times(self) -> None:
        looks = [idle(0), restart(50), Look(55, "STARTING", process=SECOND, lives=2), idle(60, SECOND, 2)]
        assert restarts(looks, [], 0.0) == Restarts(Counter(stalled=1), (4.0,), (10.0,))

    def test_what_was_planned_had_nothing_to_be_detected(self) -> None:
        found = restarts([idle(0), restart(50, "recycled"), idle(60, SECOND, 2)], [], 0.0)
        assert (found.causes, found.detected, found.recovered) == (Counter(recycled=1), (), (10.0,))

    @pytest.mark.parametrize(
        ("ending", "cause"),
        [
            ("exited: terminated by SIGSEGV; not expected", "crashed"),
            ("exited: terminated by SIGKILL; not expected", "killed"),
            ("exited: exit status 1; not expected", "exited"),
            ("", "unknown"),
            (None, "unknown"),
        ],
    )
    def test_what_ended_without_us_is_named_after_its_end(self, ending: str | None, cause: str) -> None:
        found = restarts([idle(0), death(50, ending), idle(52, SECOND, 2)], [], 0.0)
        assert (found.causes, found.detected, found.recovered) == (Counter({cause: 1}), (), (2.0,))

    def test_what_was_found_of_it_afterwards_counts_for_more(self) -> None:
        """But not for more than what the listener has seen itself."""
        found, crashed = {FIRST: "missing_module"}, "exited: exit status 1; not expected"
        looks = [idle(0), death(50, crashed), idle(52, SECOND, 2)]
        assert restarts(looks, [], 0.0, found).causes == Counter(missing_module=1)
        assert restarts(looks, [], 0.0, {SECOND: "segfault"}).causes == Counter(exited=1)
        assert restarts([idle(0), restart(50)], [], 0.0, found).causes == Counter(stalled=1)

    def test_supervisords_word_may_come_later(self) -> None:
        told = replace(idle(52, SECOND, 2), ending="exited: terminated by SIGABRT; not expected")
        assert restarts([idle(0), death(50, None), told], [], 0.0).causes == Counter(crashed=1)

    def test_of_another_life_it_says_nothing(self) -> None:
        other = replace(idle(52, THIRD, 2), ending="exited: terminated by SIGABRT; not expected")
        assert restarts([idle(0), death(50, None), other], [], 0.0).causes["crashed"] == 0

    def test_a_configuration_fault_is_named(self) -> None:
        died = replace(death(50, "exited: exit status 2; not expected"), fault="flag_unknown")
        assert restarts([idle(0), died], [], 0.0).causes == Counter(flag_unknown=1)

    @pytest.mark.parametrize(
        "wished",
        [
            [death(50, "stopped: exit status 0")],
            [Look(50, "STOPPED", process=FIRST, before=FIRST, lives=1), Look(55, "STARTING", process=SECOND, lives=2)],
        ],
    )
    def test_what_somebody_wished_for_is_none(self, wished: list[Look]) -> None:
        assert restarts([idle(0), *wished, idle(60, SECOND, 2)], [], 0.0) == Restarts()

    def test_starts_that_nobody_saw_the_reason_of_are_counted(self) -> None:
        looks = [idle(0), death(50, "exited: terminated by SIGKILL; not expected", 5), idle(60, SECOND, 5)]
        assert restarts(looks, [], 0.0).causes == Counter({UNSEEN: 3, "killed": 1})

    def test_a_count_that_began_anew_is_no_start(self) -> None:
        assert not restarts([idle(0, lives=9), idle(50, lives=1)], [], 0.0).causes

    def test_only_what_ended_since_then_counts(self) -> None:
        looks = [idle(0), restart(50), idle(60, SECOND, 2), restart(150, "segfault", 2), idle(153, SECOND, 3)]
        assert restarts(looks, [], 100.0) == Restarts(Counter(segfault=1), (4.0,), (3.0,))

    def test_several_ends_may_be_one_outage(self) -> None:
        looks = [idle(0), restart(50), death(55, "exited: exit status 1; not expected"), idle(70, SECOND, 2)]
        assert restarts(looks, [], 0.0).recovered == (20.0,)

    def test_an_outage_that_was_not_watched_to_its_end_has_no_length(self) -> None:
        assert restarts([idle(0), restart(50), idle(5000, SECOND, 2)], [Gap(60, 4900)], 0.0).recovered == ()
        stopped = Look(55, "STOPPED", process=FIRST, before=FIRST, lives=1)
        assert restarts([idle(0), restart(50), stopped, idle(5000, SECOND, 2)], [], 0.0).recovered == ()
