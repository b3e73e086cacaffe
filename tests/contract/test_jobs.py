"""What becomes of a job that is submitted."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from comfy_supervisor.standin.release import CREATE_TIME, KEEPS_KEYS_APART, UUID_PROMPT_ID
from tests.comfyui_server import Server, fail_job, image_job, sleep_job


def names(entry: dict[str, Any]) -> list[str]:
    return [name for name, _ in entry["status"]["messages"]]


def test_the_first_job_of_a_process_has_number_0(running: tuple[Server, float]) -> None:
    _, first = running
    assert first == 0


def test_numbers_count_up_and_front_makes_them_negative(comfyui: Server) -> None:
    first = comfyui.post("/prompt", {"prompt": image_job()}).json()["number"]
    second = comfyui.post("/prompt", {"prompt": image_job()}).json()["number"]
    front = comfyui.post("/prompt", {"prompt": image_job(), "front": True}).json()["number"]
    assert (second, front) == (first + 1, -(first + 2))


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_job_is_answered_with_its_id_and_number(comfyui: Server, prefix: str) -> None:
    answer = comfyui.post(f"{prefix}/prompt", {"prompt": image_job(), "number": 7}).json()
    assert answer == {"prompt_id": answer["prompt_id"], "number": 7.0, "node_errors": {}}
    assert str(uuid.UUID(answer["prompt_id"])) == answer["prompt_id"]


def test_a_finished_job_is_in_the_history_with_its_outputs(comfyui: Server) -> None:
    prompt_id = str(uuid.uuid4())
    comfyui.submit(image_job(prefix="sub/pic"), prompt_id=prompt_id, extra_data={"mine": 1}, number=3)
    entry = comfyui.finished(prompt_id)
    number, shown_id, prompt, extra_data, outputs = entry["prompt"]
    assert (number, shown_id, prompt, outputs) == (3.0, prompt_id, image_job(prefix="sub/pic"), ["2"])
    assert extra_data["mine"] == 1
    assert ("create_time" in extra_data) == comfyui.release.has(CREATE_TIME)
    (image,) = entry["outputs"]["2"]["images"]
    assert image == {"filename": image["filename"], "subfolder": "sub", "type": "output"}
    assert (comfyui.folder / "output" / "sub" / image["filename"]).read_bytes().startswith(b"\x89PNG")
    about = {"node_id": "2", "display_node": "2", "parent_node": None, "real_node_id": "2"}
    assert entry["meta"] == {"2": about}
    assert set(entry) == {"prompt", "outputs", "status", "meta"}


def test_the_history_tells_the_steps_of_a_good_job(comfyui: Server) -> None:
    prompt_id = comfyui.submit(image_job())
    status = comfyui.finished(prompt_id)["status"]
    assert (status["status_str"], status["completed"]) == ("success", True)
    (start, started), (cached, cache), (end, ended) = status["messages"]
    assert (start, cached, end) == ("execution_start", "execution_cached", "execution_success")
    assert started == {"prompt_id": prompt_id, "timestamp": started["timestamp"]}
    assert cache == {"prompt_id": prompt_id, "nodes": [], "timestamp": cache["timestamp"]}
    assert set(ended) == {"prompt_id", "timestamp"}
    assert 1e12 < started["timestamp"] <= ended["timestamp"]


def test_the_same_graph_again_is_taken_from_the_cache_until_memory_is_freed(comfyui: Server) -> None:
    first = comfyui.finished(comfyui.submit(image_job()))
    again = comfyui.finished(comfyui.submit(image_job()))
    assert sorted(again["status"]["messages"][1][1]["nodes"]) == ["1", "2"]
    assert again["outputs"] == first["outputs"]
    assert comfyui.post("/free", {"free_memory": True}).status_code == 200
    comfyui.finished(comfyui.submit(sleep_job(0)))  # memory is freed between two jobs
    later = comfyui.finished(comfyui.submit(image_job()))
    assert later["status"]["messages"][1][1]["nodes"] == []
    assert later["outputs"] != first["outputs"]


def test_a_failing_node_ends_its_job_with_an_explanation(comfyui: Server) -> None:
    prompt_id = comfyui.submit(fail_job())
    entry = comfyui.finished(prompt_id)
    assert (entry["status"]["status_str"], entry["status"]["completed"]) == ("error", False)
    assert names(entry) == ["execution_start", "execution_cached", "execution_error"]
    error = entry["status"]["messages"][-1][1]
    assert error.pop("timestamp") > 0
    assert "File" in error.pop("traceback")[-1]
    assert error == {
        "prompt_id": prompt_id,
        "node_id": "1",
        "node_type": "StandinFail",
        "executed": [],
        "exception_message": "the stand-in's node was told to fail\n",
        "exception_type": "RuntimeError",
        "current_inputs": {"kind": ["error"]},
        "current_outputs": ["1"],
    }


def test_a_failing_node_does_not_take_back_what_was_shown_before(comfyui: Server) -> None:
    graph = {**sleep_job(0), "2": {"class_type": "StandinFail", "inputs": {"kind": "error"}}}
    entry = comfyui.finished(comfyui.submit(graph))
    error = entry["status"]["messages"][-1][1]
    assert list(entry["outputs"]) == error["executed"]


def test_jobs_run_in_the_order_of_their_numbers(comfyui: Server) -> None:
    running = comfyui.submit(sleep_job(60))
    comfyui.until_running(running)
    last, first = comfyui.submit(image_job(), number=9), comfyui.submit(image_job(), number=-9)
    assert comfyui.remaining() == 3
    comfyui.post("/interrupt", {"prompt_id": running})
    comfyui.finished(last)
    assert list(comfyui.get("/history")) == [running, first, last]


def test_the_queue_shows_whole_items(comfyui: Server) -> None:
    running = comfyui.submit(sleep_job(60), number=1, client_id="somebody")
    comfyui.until_running(running)
    waiting = comfyui.submit(image_job(), number=2, extra_data={"mine": [1]})
    queue = comfyui.get("/queue")
    assert set(queue) == {"queue_running", "queue_pending"}
    (item,), (other,) = queue["queue_running"], queue["queue_pending"]
    assert item[:3] == [1.0, running, sleep_job(60)]
    assert item[3]["client_id"] == "somebody"
    assert other[:3] == [2.0, waiting, image_job()]
    assert other[3]["mine"] == [1]
    assert other[4:] == [["2"]]
    assert comfyui.get("/api/queue") == queue


def test_api_keys_are_shown_in_the_queue_only_by_old_releases(comfyui: Server) -> None:
    secret = {"api_key_comfy_org": "key", "auth_token_comfy_org": "token", "other": "open"}
    prompt_id = comfyui.submit(sleep_job(60), extra_data=secret)
    comfyui.until_running(prompt_id)
    shown = comfyui.get("/queue")["queue_running"][0][3]
    apart = comfyui.release.has(KEEPS_KEYS_APART)
    assert {name: shown.get(name) for name in secret} == (
        {**dict.fromkeys(secret), "other": "open"} if apart else secret
    )
    comfyui.post("/interrupt", {})
    kept = comfyui.finished(prompt_id)["prompt"][3]
    assert "other" in kept
    assert "api_key_comfy_org" not in kept
    assert "auth_token_comfy_org" not in kept


def test_waiting_jobs_can_be_deleted_and_the_running_one_cannot(comfyui: Server) -> None:
    running = comfyui.submit(sleep_job(60))
    comfyui.until_running(running)
    ids = [comfyui.submit(image_job(colour=colour)) for colour in range(3)]
    assert comfyui.post("/queue", {"delete": [ids[1], running, "unknown"]}).status_code == 200
    assert sorted(item[1] for item in comfyui.get("/queue")["queue_pending"]) == sorted([ids[0], ids[2]])
    assert comfyui.post("/queue", {"clear": True}).status_code == 200
    queue = comfyui.get("/queue")
    assert (len(queue["queue_running"]), queue["queue_pending"]) == (1, [])


def test_an_interrupt_ends_the_job_that_it_names(comfyui: Server) -> None:
    prompt_id = comfyui.submit(sleep_job(60))
    comfyui.until_running(prompt_id)
    assert comfyui.post("/interrupt", {"prompt_id": str(uuid.uuid4())}).status_code == 200
    assert comfyui.remaining() == 1
    assert comfyui.post("/interrupt", {"prompt_id": prompt_id}).status_code == 200
    entry = comfyui.finished(prompt_id)
    assert entry["status"]["status_str"] == "error"
    name, message = entry["status"]["messages"][-1]
    assert name == "execution_interrupted"
    assert message == {
        "prompt_id": prompt_id,
        "node_id": "1",
        "node_type": "StandinSleep",
        "executed": [],
        "timestamp": message["timestamp"],
    }


def test_an_interrupt_without_a_body_is_accepted_and_forgotten_by_the_next_job(comfyui: Server) -> None:
    assert comfyui.session.post(f"{comfyui.url}/interrupt", timeout=30).status_code == 200
    assert names(comfyui.finished(comfyui.submit(sleep_job(0.1))))[-1] == "execution_success"


def test_a_client_may_choose_the_id(comfyui: Server) -> None:
    prompt_id = str(uuid.uuid4())
    assert comfyui.submit(image_job(), prompt_id=prompt_id) == prompt_id


@pytest.mark.parametrize("prompt_id", ["mine", 7, "A9BB5F0B-72D4-4D5C-9BB5-9F0B72D44D5C"])
def test_an_id_that_is_no_lower_case_uuid_is_refused_by_newer_releases(comfyui: Server, prompt_id: object) -> None:
    answer = comfyui.post("/prompt", {"prompt": image_job(), "prompt_id": prompt_id})
    if comfyui.release.has(UUID_PROMPT_ID):
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_prompt_id"
    else:
        assert answer.json()["prompt_id"] == str(prompt_id)


def test_the_same_number_and_id_twice_is_an_error_and_queued_all_the_same(comfyui: Server) -> None:
    comfyui.until_running(comfyui.submit(sleep_job(60), number=-1))
    body = {"prompt_id": str(uuid.uuid4()), "number": 5}
    assert comfyui.post("/prompt", {"prompt": image_job(colour=1), **body}).status_code == 200
    assert comfyui.post("/prompt", {"prompt": image_job(colour=2), **body}).status_code == 500
    assert [item[1] for item in comfyui.get("/queue")["queue_pending"]] == [body["prompt_id"]] * 2


def test_the_history_can_be_read_in_parts(comfyui: Server) -> None:
    ids = [comfyui.submit(image_job(colour=colour)) for colour in range(4)]
    comfyui.finished(ids[-1])
    assert list(comfyui.get("/history")) == ids
    assert list(comfyui.get("/history", max_items=2)) == ids[2:]
    assert list(comfyui.get("/history", max_items=2, offset=1)) == ids[1:3]
    assert list(comfyui.get("/api/history", offset=3)) == ids[3:]


def test_the_history_can_be_forgotten(comfyui: Server) -> None:
    ids = [comfyui.submit(image_job(colour=colour)) for colour in range(2)]
    comfyui.finished(ids[-1])
    assert comfyui.post("/history", {"delete": [ids[0], "unknown"]}).status_code == 200
    assert list(comfyui.get("/history")) == ids[1:]
    assert comfyui.post("/history", {"clear": True}).status_code == 200
    assert comfyui.get("/history") == {}


def test_an_unknown_job_has_an_empty_history(comfyui: Server) -> None:
    assert comfyui.get(f"/history/{uuid.uuid4()}") == {}
