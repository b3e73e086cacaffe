"""The simulated year: it can be repeated, leaves out only what changes nothing, and finds what is broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from comfy_supervisor.health.policy import judge as policy
from comfy_supervisor.health.policy.evidence import Deed, Hand, Observation, State, Verdict, Word
from comfy_supervisor.jobs import fate
from comfy_supervisor.jobs.fate import Policy
from comfy_supervisor.jobs.job import Guilt, Job, Waits
from comfy_supervisor.jobs.job import State as JobState
from tests.proof.plan import Plan
from tests.proof.year import events, ours, report
from tests.proof.year.accounts import Accounts
from tests.proof.year.faults import FAULTS
from tests.proof.year.ours import Ours
from tests.proof.year.promises import BrokenPromiseError
from tests.proof.year.simulation import HTTPOK, OURS, PLAIN, Scenario, Simulation

RARE = Scenario(seed=3, instances=2, days=0.3, often=20)
WILD = Scenario(seed=1, instances=2, days=0.12, often=1000)
Judge = Callable[..., tuple[State, Verdict]]


def _run(scenario: Scenario, who: str = OURS) -> tuple[Accounts, list[tuple[float, str, str]]]:
    simulation = Simulation(scenario, who)
    accounts = simulation.run()
    return accounts, simulation.watcher.decisions if isinstance(simulation.watcher, Ours) else []


def _several() -> None:
    """Run some seeds: a fault that shows what is broken will be among them."""
    for seed in range(1, 6):
        _run(replace(WILD, seed=seed))


def _news(decisions: list[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    """Return what was decided, but for the coming and going of jobs."""
    return [each for each in decisions if each[2] not in ("IDLE nothing healthy", "BUSY nothing healthy")]


def _figures(accounts: Accounts) -> dict[str, Any]:
    """Return all that was counted, but for the looks; seconds to the thousandth."""
    figures = {name: found for name, found in vars(accounts).items() if name != "looks"}
    for name in ("should", "could"):
        figures[name] = {number: round(seconds, 3) for number, seconds in figures[name].items()}
    return figures


@pytest.mark.parametrize("who", [OURS, HTTPOK, PLAIN])
def test_a_seed_gives_the_same_figures_again(who: str) -> None:
    assert _figures(_run(RARE, who)[0]) == _figures(_run(RARE, who)[0])


def test_another_seed_gives_others() -> None:
    assert _figures(_run(RARE, PLAIN)[0]) != _figures(_run(replace(RARE, seed=4), PLAIN)[0])


def test_what_is_left_out_changes_neither_a_decision_nor_a_figure() -> None:
    """Ours with each look taken and each job in the journal, and with the quiet times skipped."""
    sparse, decided = _run(RARE)
    dense, all_decided = _run(replace(RARE, dense=True))
    assert sparse.looks < dense.looks / 2
    assert _news(decided) == _news(all_decided)
    assert _figures(sparse) == _figures(dense)


def test_all_meet_the_same_faults() -> None:
    simulations = [Simulation(WILD, who) for who in (OURS, HTTPOK, PLAIN)]
    assert simulations[0].events == simulations[1].events == simulations[2].events
    jobs = [[simulation.instances[0].load.take() for _ in range(50)] for simulation in simulations]
    assert jobs[0] == jobs[1] == jobs[2]


def test_every_fault_from_outside_can_happen() -> None:
    assert {fault.name for fault in FAULTS if fault.of != "job"} <= set(events.names())


def test_everything_a_thousand_times_as_often() -> None:
    ours, _ = _run(WILD)
    plain, _ = _run(WILD, PLAIN)
    assert ours.jobs["lost"] == 0
    assert plain.jobs["lost"] > 0
    assert sum(ours.befell.values()) > 10


def _judging(monkeypatch: pytest.MonkeyPatch, change: Callable[[State, Observation, Verdict], Verdict]) -> None:
    """Have the policy say something else than it does."""
    judge: Judge = policy.judge

    def wrong(before: State, seen: Observation, now: float, rules: Any) -> tuple[State, Verdict]:
        state, verdict = judge(before, seen, now, rules)
        return state, change(before, seen, verdict)

    monkeypatch.setattr(ours, "judge", wrong)


def _idle(_: State, __: Observation, verdict: Verdict) -> Verdict:
    return replace(verdict, deed=Deed.NOTHING, hold="", word=Word.IDLE)


def _eager(_: State, seen: Observation, verdict: Verdict) -> Verdict:
    """Restart whatever starts."""
    starts = verdict.word is Word.STARTING and not seen.waits and seen.life
    return replace(verdict, deed=Deed.RESTART, cause="stalled") if starts else verdict


def _hasty(_: State, __: Observation, verdict: Verdict) -> Verdict:
    """Take who works for stalled."""
    return replace(verdict, deed=Deed.RESTART, cause="stalled") if verdict.word is Word.BUSY else verdict


def _stubborn(_: State, seen: Observation, verdict: Verdict) -> Verdict:
    """End what an operator stopped."""
    return replace(verdict, deed=Deed.KILL, life=None) if seen.supervised == "STOPPED" else verdict


def _blind(_: State, seen: Observation, verdict: Verdict) -> Verdict:
    return replace(verdict, deed=Deed.RESTART) if not seen.supervised and seen.life else verdict


def _late(_: State, __: Observation, verdict: Verdict) -> Verdict:
    """Aim at a life that is none."""
    life = replace(verdict.life, pid=1) if verdict.life else None
    return replace(verdict, life=life) if verdict.deed in (Deed.RESTART, Deed.KILL) else verdict


def _twice(_: State, seen: Observation, verdict: Verdict) -> Verdict:
    """Restart what is being restarted."""
    return replace(verdict, deed=Deed.RESTART, life=seen.life) if seen.hand is Hand.BUSY else verdict


def _restless(_: State, __: Observation, verdict: Verdict) -> Verdict:
    """Restart what is well, again and again."""
    idle = verdict.word is Word.IDLE and verdict.deed is Deed.NOTHING
    return replace(verdict, deed=Deed.RESTART, cause="api_unresponsive") if idle else verdict


def _talks(_: State, __: Observation, verdict: Verdict) -> Verdict:
    """Only say what should be done."""
    return replace(verdict, deed=Deed.ALERT, hold="") if verdict.deed is not Deed.NOTHING else verdict


@pytest.mark.parametrize(
    ("wrong", "promise"),
    [
        (_twice, "1: a restart is in flight"),
        (_restless, "4: the budget"),
        (_talks, "it stays ill"),
        (_idle, "6: nobody acts"),
        (_eager, "2: it is starting"),
        (_hasty, "7: its job moves"),
        (_stubborn, "5: an operator stopped it"),
        (_blind, "8: our own trouble"),
        (_late, "3: that life is over"),
    ],
)
def test_a_policy_that_breaks_a_promise_is_found_out(
    monkeypatch: pytest.MonkeyPatch, wrong: Callable[[State, Observation, Verdict], Verdict], promise: str
) -> None:
    _judging(monkeypatch, wrong)
    with pytest.raises(BrokenPromiseError, match=promise):
        _several()


def test_a_lost_job_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a death leaves behind is held for deleted."""

    def forgets(job: Job, guilt: Guilt, policy: Policy, now: float) -> Job:
        return replace(job, state=JobState.DELETED, life=None, waits=Waits.NOT)

    monkeypatch.setattr(fate, "after_death", forgets)
    with pytest.raises(BrokenPromiseError):
        _run(WILD)


def test_a_deleted_job_that_comes_back_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    after_death = fate.after_death

    def forgives(job: Job, guilt: Guilt, policy: Policy, now: float) -> Job:
        return after_death(replace(job, asked=""), guilt, policy, now)

    monkeypatch.setattr(fate, "after_death", forgives)
    monkeypatch.setattr(
        "tests.proof.year.instance.Instance.give_up", lambda self: self.end("exited: terminated by SIGKILL")
    )
    with pytest.raises(BrokenPromiseError, match="was deleted"):
        _several()


def test_a_broken_promise_is_told_with_the_command_that_shows_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_scenarios", lambda plan: (replace(WILD, seed=plan.seed),))
    _judging(monkeypatch, _hasty)
    found = report.measure(Plan(quick=True, seed=17))
    assert found.missed[0].endswith("python -m tests.proof --quick year --seed 17")
    assert "7: its job moves" in found.text
