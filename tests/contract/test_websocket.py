"""Who is told what on the WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.comfyui_server import Listener, Server, image_job, sleep_job
from tests.support import wait_until

Listen = Callable[..., Listener]


@pytest.fixture
def listen(comfyui: Server) -> Iterator[Listen]:
    listeners: list[Listener] = []

    def connect(client_id: str = "") -> Listener:
        listeners.append(Listener(comfyui, client_id))
        return listeners[-1]

    yield connect
    for listener in listeners:
        listener.leave()


def test_a_client_is_greeted_with_its_id_and_the_queue(listen: Listen) -> None:
    listener = listen("me")
    assert listener.heard[0] == ("status", {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "me"})


def test_a_client_hears_every_step_of_its_own_job(comfyui: Server, listen: Listen) -> None:
    listener = listen()
    prompt_id = comfyui.submit(sleep_job(0.2, steps=2), client_id=listener.client_id)
    wait_until(lambda: {"node": None, "prompt_id": prompt_id} in listener.events("executing"))
    steps = [event for event, _ in listener.heard if event not in {"status", "progress_state"}]
    assert steps == [
        *("execution_start", "execution_cached", "executing", "progress", "progress"),
        *("executed", "execution_success", "executing"),
    ]
    assert listener.events("executing")[0] == {"node": "1", "display_node": "1", "prompt_id": prompt_id}
    assert listener.events("progress") == [
        {"value": step, "max": 2, "prompt_id": prompt_id, "node": "1"} for step in (1, 2)
    ]
    (executed,) = listener.events("executed")
    shown = {"text": ["slept 0.2 s"]}
    assert executed == {"node": "1", "display_node": "1", "output": shown, "prompt_id": prompt_id}
    assert {data["prompt_id"] for data in listener.events("execution_success")} == {prompt_id}


def test_a_client_hears_how_far_each_node_is(comfyui: Server, listen: Listen) -> None:
    listener = listen()
    prompt_id = comfyui.submit(sleep_job(0.2, steps=2), client_id=listener.client_id)
    wait_until(lambda: {"node": None, "prompt_id": prompt_id} in listener.events("executing"))
    states = listener.events("progress_state")
    assert {state["prompt_id"] for state in states} == {prompt_id}
    nodes = [state["nodes"]["1"] for state in states]
    assert [(node["state"], node["value"], node["max"]) for node in nodes] == [
        ("running", 0, 1),
        ("running", 1, 2),
        ("running", 2, 2),
        ("finished", 2, 2),
    ]
    about = {"node_id": "1", "display_node_id": "1", "real_node_id": "1", "parent_node_id": None}
    assert about.items() <= nodes[0].items()


def test_others_hear_only_how_long_the_queue_is(comfyui: Server, listen: Listen) -> None:
    owner, other = listen(), listen()
    comfyui.finished(comfyui.submit(sleep_job(0.1), client_id=owner.client_id))
    wait_until(lambda: owner.events("execution_success") and len(other.heard) > 3)
    assert {event for event, _ in other.heard} == {"status"}
    assert other.heard[-1] == ("status", {"status": {"exec_info": {"queue_remaining": 0}}})


def test_the_progress_of_nobodys_job_is_told_to_everybody(comfyui: Server, listen: Listen) -> None:
    listener = listen()
    comfyui.finished(comfyui.submit(sleep_job(0.1, steps=1)))
    wait_until(lambda: len(listener.events("progress_state")) == 3)
    assert {event for event, _ in listener.heard} == {"status", "progress", "progress_state"}


def test_an_interrupt_of_nobodys_job_is_told_to_everybody(comfyui: Server, listen: Listen) -> None:
    listener = listen()
    prompt_id = comfyui.submit(sleep_job(60))
    comfyui.until_running(prompt_id)
    comfyui.post("/interrupt", {"prompt_id": prompt_id})
    wait_until(lambda: listener.events("execution_interrupted"))


def test_who_connects_with_anothers_id_takes_over_what_it_would_hear(comfyui: Server, listen: Listen) -> None:
    first = listen("shared")
    second = listen("shared")
    heard_before = len(first.heard)
    comfyui.finished(comfyui.submit(image_job(), client_id="shared"))
    wait_until(lambda: second.events("execution_success"))
    assert len(first.heard) == heard_before
    assert not first.closed.is_set()


def test_who_reconnects_during_its_job_is_told_which_node_runs(comfyui: Server, listen: Listen) -> None:
    first = listen("again")
    comfyui.until_running(comfyui.submit(sleep_job(60), client_id="again"))
    wait_until(lambda: first.events("executing"))
    second = listen("again")
    wait_until(lambda: second.events("executing"))
    assert second.events("executing") == [{"node": "1"}]
