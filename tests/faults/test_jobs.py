"""Faults that cost jobs, were they not kept: by the extension within ComfyUI, and as far as is seen from outside."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest
import requests

from comfy_supervisor.health.policy.evidence import ENDS
from tests.faults.conftest import discharged
from tests.faults.keeper import LONG, Keeper
from tests.faults.patient import STALL, failing, sleeper
from tests.support import wait_until

CRASH = {"1": {"class_type": "StandinCrash", "inputs": {"how": "segfault"}}}
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", params=[True, False], ids=["extension", "outside"])
def one(request: pytest.FixtureRequest) -> Iterator[Keeper]:
    """Give a service whose jobs are kept: by the extension, and from outside."""
    with discharged(Keeper()) as keeper:
        assert isinstance(keeper, Keeper)
        keeper.keep(request.param)
        yield keeper


@pytest.fixture
def keeper(one: Keeper) -> Keeper:
    """Give it as good as new."""
    one.anew()
    return one


@pytest.fixture(scope="module")
def inside() -> Iterator[Keeper]:
    """Give one with the extension."""
    with discharged(Keeper()) as keeper:
        assert isinstance(keeper, Keeper)
        keeper.keep(True)
        yield keeper


@pytest.fixture
def within(inside: Keeper) -> Keeper:
    """Give it as good as new."""
    inside.anew()
    return inside


def test_what_was_queued_is_done_after_a_kill_in_its_order_the_victim_first(keeper: Keeper) -> None:
    ids = keeper.submitted(keeper.sleeper(3), *[keeper.sleeper(0.1) for _ in range(4)])
    keeper.wait_until_runs(ids[0])
    keeper.kill()
    keeper.wait_for_states(ids, "done")
    assert keeper.ended_in_order(ids) == ids
    assert [keeper.job(each).victim for each in ids] == [1, 0, 0, 0, 0]


def test_a_job_that_kills_comfyui_is_set_aside_at_its_second_death_and_the_rest_goes_on(keeper: Keeper) -> None:
    """Fault 41."""
    long = 1 if keeper.extension else 8  # what dies before it was seen from outside is lost
    first, killer, *others = keeper.submitted(keeper.sleeper(long), CRASH, *[keeper.sleeper(0.1)] * 3)
    keeper.wait_for_states([killer], "quarantined")
    keeper.wait_for_states([first, *others], "done")
    assert keeper.job(killer).suspect == 2
    assert keeper.ended_in_order([killer, *others])[-1] == killer


def test_what_its_user_deleted_stays_deleted(keeper: Keeper) -> None:
    """Fault 44."""
    running, waiting, unwanted = keeper.submitted(keeper.sleeper(30), keeper.sleeper(0.1), keeper.sleeper(0.1))
    keeper.wait_until_runs(running)
    requests.post(f"{keeper.url}/queue", json={"delete": [unwanted]}, timeout=10)
    keeper.wait_for_states([unwanted], "deleted")
    requests.post(f"{keeper.url}/interrupt", json={"prompt_id": running}, timeout=10)
    keeper.wait_for_states([running], "deleted")
    keeper.wait_for_states([waiting], "done")
    keeper.kill()
    keeper.wait_for_api()
    keeper.wait_for_word("IDLE")
    assert not keeper.queue()
    assert keeper.shown([running, unwanted]) == "deleted deleted"


def test_after_an_operators_restart_the_running_job_is_charged_with_nothing(keeper: Keeper) -> None:
    ids = keeper.submitted(keeper.sleeper(3), keeper.sleeper(0.1))
    keeper.wait_until_runs(ids[0])
    keeper.ok("restart")
    keeper.wait_for_states(ids, "done")
    assert [(keeper.job(each).suspect, keeper.job(each).victim) for each in ids] == [(0, 0), (0, 0)]
    assert keeper.ended_in_order(ids) == ids


def test_a_job_that_stalls_is_tried_once_more_after_all_others(keeper: Keeper) -> None:
    """Fault 5: R, its job charged."""
    pid = keeper.pid()
    keeper.order("stall", deaf=True)
    stalled, other = keeper.submitted(keeper.sleeper(1), keeper.sleeper(0.1))
    assert stalled in keeper.wait_for_restart(pid, "stalled", 60)["reason"]
    keeper.wait_for_states([stalled, other], "done")
    assert keeper.job(stalled).suspect == 1
    assert keeper.ended_in_order([stalled, other]) == [other, stalled]


def test_a_job_that_gives_up_a_stall_when_asked_is_tried_once_more(keeper: Keeper) -> None:
    keeper.order("stall")
    stalled, other = keeper.submitted(keeper.sleeper(1), keeper.sleeper(0.1))
    wait_until(lambda: keeper.deeds("interrupt"), 30, "no interrupt")
    keeper.order("recover")
    keeper.wait_for_states([stalled, other], "done")
    assert not keeper.restarts()
    assert keeper.job(stalled).suspect == 1


def test_a_poisoned_gpu_costs_no_job_but_the_one_that_poisons(within: Keeper) -> None:
    poison, *others = within.submitted(failing("cuda_poisoned"), *[sleeper(0.1)] * 4)
    within.wait_for_states([poison], "quarantined")
    within.wait_for_states(others, "done")
    assert not any(within.job(each).suspect for each in others)


@pytest.mark.parametrize("whose", ["the listener's", "both"])
def test_death_in_the_middle_of_a_replay_loses_and_repeats_nothing(keeper: Keeper, whose: str) -> None:
    """Fault 42: of those who put the jobs back, and of ComfyUI with what it has of them."""
    ids = keeper.submitted(keeper.sleeper(4), *[keeper.sleeper(0.05) for _ in range(30 if keeper.extension else 4)])
    keeper.wait_until_runs(ids[0])
    executed, taken, some = keeper.log().count("Prompt executed"), keeper.log().count("got prompt"), len(ids) // 2
    keeper.listener().suspend()
    keeper.kill()
    keeper.wait_for_api()
    keeper.order("lose_answers", after=some - 1)  # whoever gets none looks and waits, and puts no further job back
    keeper.listener().resume()
    keeper.wait_for(lambda: keeper.log().count("got prompt") >= taken + some, LONG, "half of them are back")
    keeper.listener().kill()
    if whose == "both":
        keeper.kill()
    assert 0 < keeper.log().count("got prompt") - taken < len(ids)
    keeper.wait_for_states(ids, "done", deadline=2 * LONG)
    assert keeper.log().count("Prompt executed") - executed == len(ids)
    assert keeper.job(ids[0]).victim == (2 if whose == "both" else 1)


def test_a_damaged_journal_is_set_aside_and_supervision_goes_on(keeper: Keeper) -> None:
    """Fault 21."""
    keeper.submitted(keeper.sleeper(0.1))
    file = keeper.state / "cpu" / "journal.sqlite"
    file.with_name("journal.sqlite-wal").write_bytes(b"x" * 5000)
    file.write_bytes(os.urandom(20_000))
    if not keeper.extension:
        keeper.listener().kill()  # who has it open and reads nothing would go on in it for a while
    ids = keeper.submitted(keeper.sleeper(3 if keeper.extension else 12), keeper.sleeper(0.1))
    assert list(file.parent.glob("journal.sqlite.bad-*"))
    keeper.wait_until_runs(ids[0])
    keeper.kill()
    keeper.wait_for_states(ids, "done")


def test_a_job_whose_submission_is_not_answered_is_not_submitted_twice(keeper: Keeper) -> None:
    """Fault 43."""
    ids = keeper.submitted(keeper.sleeper(3), keeper.sleeper(0.1), keeper.sleeper(0.1))
    keeper.wait_until_runs(ids[0])
    taken = keeper.log("comfyui").count("got prompt")
    listener = keeper.listener()
    listener.suspend()
    try:
        keeper.kill()
        keeper.wait_for_api()
        keeper.order("lose_answers", count=2)
    finally:
        listener.resume()
    keeper.wait_for_states(ids, "done")
    assert keeper.log("comfyui").count("got prompt") == taken + 3
    assert [keeper.job(each).victim for each in ids] == [1, 0, 0]


def test_a_dead_workers_job_is_charged_and_all_go_back(keeper: Keeper) -> None:
    """Fault 4: R; the extension sees it at once, and from outside it is a job that stands still."""
    pid = keeper.pid()
    keeper.order("worker_dies")
    ids = keeper.submitted(keeper.sleeper(1), keeper.sleeper(0.1))
    keeper.wait_for_restart(pid, "worker_thread_died" if keeper.extension else "stalled", 60)
    keeper.wait_for_states(ids, "done")
    assert [keeper.job(each).suspect for each in ids] == [1, 0]
    assert keeper.ended_in_order(ids) == ids[::-1]


def test_a_dead_worker_is_known_within_two_seconds() -> None:
    """However rarely it is looked at: ComfyUI's own process tells. The best of three, since this machine is busy."""
    with discharged(Keeper()) as keeper:
        assert isinstance(keeper, Keeper)
        keeper.keep(True, health={"probe_every": 30.0})
        assert any(_known_after(keeper) < 2.0 for _ in range(3)), keeper.story()


def _known_after(keeper: Keeper) -> float:
    """Have a worker die, and return how many seconds later the listener has decided to replace it."""
    keeper.anew()
    keeper.wait_until_runs(keeper.submit(sleeper(600)))
    pid, dies = keeper.pid(), time.monotonic()
    keeper.order("worker_dies")
    keeper.wait_for_next_life(pid)
    (decision,) = [each for each in keeper.decisions() if each["verdict"].get("deed") in ENDS]
    return float(decision["now"]) - dies


def test_a_stall_names_its_node(within: Keeper) -> None:
    pid = within.pid()
    within.order("stall", deaf=True)
    within.submit(sleeper(1))
    assert "StandinSleep (1)" in within.wait_for_restart(pid, "stalled", 60)["reason"]


@pytest.mark.parametrize("how", ["sleep", "gil"])
def test_before_a_restart_it_is_written_down_where_each_thread_was(within: Keeper, how: str) -> None:
    """Fault 3, and the event loop blocked without the lock; patience is short here."""
    pid = within.pid()
    within.order("hold_answers", how=how)
    within.wait_for_restart(pid, "api_unresponsive", 100)
    stacks = (within.state / "run/cpu/stacks.1.txt").read_text()
    assert "faults.py" in stacks
    assert "Thread 0x" in stacks
    assert "where its threads were" in within.log("comfyui-health")


def test_while_comfyui_is_paused_nothing_begins_and_nothing_is_wrong(within: Keeper) -> None:
    pause = within.state / "run" / "cpu" / "pause.json"
    pause.write_text("{}")
    try:
        ids = within.submitted(sleeper(0.1), sleeper(0.1))
        within.stays(4.0)
        assert within.shown(ids) == "queued queued"
        assert not within.alerts()
    finally:
        pause.unlink()
    within.wait_for_states(ids, "done")


@pytest.mark.parametrize(
    ("replay", "how", "comes_back"),
    [("never", "kill", False), ("crash", "kill", True), ("crash", "restart", False)],
)
def test_an_operator_can_say_no(replay: str, how: str, comes_back: bool) -> None:
    with discharged(Keeper()) as keeper:
        assert isinstance(keeper, Keeper)
        keeper.keep(True, replay=replay)
        ids = keeper.submitted(sleeper(2), sleeper(0.1))
        keeper.wait_until_runs(ids[0])
        if how == "kill":
            keeper.kill()
        else:
            keeper.ok("restart")
        keeper.wait_for(lambda: all(keeper.job(each).waits for each in ids) is not comes_back, LONG, "decided")
        if comes_back:
            keeper.wait_for_states(ids, "done")
        else:
            keeper.wait_for_word("IDLE")
            assert keeper.shown(ids) == "queued queued"
            assert not keeper.queue()


def test_steps_alone_keep_a_sleeping_job_and_without_them_it_is_asked_to_give_up(within: Keeper) -> None:
    """Fault 7, with the extension: N for three times ``stall.after`` of steps alone; what is silent is a stall."""
    steady = within.submit(sleeper(3 * STALL["after"] + 1.0, steps=20))
    assert within.finished(steady)["status"]["status_str"] == "success"
    assert not within.deeds("restart", "kill", "interrupt", "alert")
    silent = within.submit(sleeper(60, silent=True))
    within.wait_for(lambda: within.deeds("interrupt"), 20, "it is asked")
    assert within.deeds("interrupt")[0]["prompt_id"] == silent
    within.wait_for_states([silent], "quarantined")
    assert not within.restarts()


ANOTHER_FORM = """\
import server

queue = type(server.PromptServer.instance.prompt_queue)
get = queue.get
changed = []

class Job:
    def __init__(self, fields):
        self.fields = fields

    def __getitem__(self, place):
        return self.fields[place]

    def __lt__(self, other):
        return self.fields < other.fields

def first(self, *arguments, **named):  # by then all extensions are there
    if not changed:
        changed.append(queue.put)
        queue.put = lambda self, item: changed[0](self, Job(item))
    return get(self, *arguments, **named)

queue.get = first
NODE_CLASS_MAPPINGS = {}
"""


def test_a_comfyui_whose_jobs_have_another_form_is_followed_from_outside() -> None:
    """Its own log says it once, the listener's with what it means; a pause and a drain need no form of jobs."""
    with discharged(Keeper()) as keeper:
        assert isinstance(keeper, Keeper)
        nodes = keeper.folder / "nodes"
        nodes.mkdir()
        (nodes / "another_form.py").write_text(ANOTHER_FORM)
        paths = keeper.folder / "nodes.yaml"
        paths.write_text(json.dumps({"tests": {"custom_nodes": str(nodes)}}))
        keeper.keep(True, comfyui={"extra_args": ["--extra-model-paths-config", str(paths)]})
        keeper.extension = False
        ids = keeper.submitted(keeper.sleeper(4), keeper.sleeper(0.1), keeper.sleeper(0.1))
        keeper.wait_until_runs(ids[0])
        keeper.kill()
        keeper.wait_for_states(ids, "done", deadline=2 * LONG)
        assert keeper.ended_in_order(ids) == ids
        assert [keeper.job(each).victim for each in ids] == [1, 0, 0]
        assert keeper.log().count("the health listener looks at them from outside") == 2, "once in each life"
        told = "our extension does not know the form of this ComfyUI's jobs: its jobs are known only from looks"
        assert keeper.log("comfyui-health").count(told) == 2
        keeper.ok("pause")
        (waits,) = keeper.submitted(keeper.sleeper(0.1))
        assert json.loads((keeper.state / "run/cpu/heartbeat.json").read_text())["journal"] == "left"
        assert "drained and stopped; 1 job is kept" in keeper.ok("drain")
        assert keeper.state_of(waits) == "queued"
