"""What is said of a job that cannot be queued."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_supervisor.standin.release import MISSING_NODE_TYPE
from tests.comfyui_server import Server, fail_job, image_job, sleep_job


def refusal(comfyui: Server, prompt: object) -> dict[str, Any]:
    answer = comfyui.post("/prompt", {"prompt": prompt})
    assert answer.status_code == 400
    assert comfyui.remaining() == 0
    body: dict[str, Any] = answer.json()
    assert set(body) == {"error", "node_errors"}
    assert set(body["error"]) == {"type", "message", "details", "extra_info"}
    return body


def only_problem(body: dict[str, Any], node_id: str = "1", output: str = "2") -> dict[str, Any]:
    assert body["error"]["type"] == "prompt_outputs_failed_validation"
    assert list(body["node_errors"]) == [node_id]
    assert body["node_errors"][node_id]["dependent_outputs"] == [output]
    (found,) = body["node_errors"][node_id]["errors"]
    assert set(found) == {"type", "message", "details", "extra_info"}
    problem: dict[str, Any] = found
    return problem


def test_a_body_that_is_no_json_is_a_server_error(comfyui: Server) -> None:
    assert comfyui.session.post(f"{comfyui.url}/prompt", data="{", timeout=30).status_code == 500


def test_a_body_without_a_prompt(comfyui: Server) -> None:
    answer = comfyui.post("/prompt", {"client_id": "x"})
    error = {
        "type": "no_prompt",
        "message": "No prompt provided",
        "details": "No prompt provided",
        "extra_info": {},
    }
    assert (answer.status_code, answer.json()) == (400, {"error": error, "node_errors": {}})


def test_an_unknown_class_of_nodes(comfyui: Server) -> None:
    body = refusal(comfyui, {"7": {"class_type": "NoSuchNode", "inputs": {}}})
    assert body["node_errors"] == {}
    assert body["error"]["details"] == "Node ID '#7'"
    if comfyui.release.has(MISSING_NODE_TYPE):
        assert body["error"]["type"] == "missing_node_type"
        assert body["error"]["message"] == "Node 'NoSuchNode' not found. The custom node may not be installed."
        assert body["error"]["extra_info"] == {"node_id": "7", "class_type": "NoSuchNode", "node_title": "NoSuchNode"}
    else:
        assert body["error"]["type"] == "invalid_prompt"
        assert body["error"]["message"] == "Cannot execute because node NoSuchNode does not exist."
        assert body["error"]["extra_info"] == {}


def test_a_node_without_a_class(comfyui: Server) -> None:
    body = refusal(comfyui, {"7": {"inputs": {}, "_meta": {"title": "Mine"}}})
    if comfyui.release.has(MISSING_NODE_TYPE):
        assert body["error"]["type"] == "missing_node_type"
        assert body["error"]["message"].startswith("Node 'Mine' has no class_type.")
        assert body["error"]["extra_info"] == {"node_id": "7", "class_type": None, "node_title": "Mine"}
    else:
        assert body["error"]["type"] == "invalid_prompt"
        assert "class_type" in body["error"]["message"]


def test_a_graph_without_outputs(comfyui: Server) -> None:
    graph = image_job()
    del graph["2"]
    error = {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": "", "extra_info": {}}
    assert refusal(comfyui, graph) == {"error": error, "node_errors": {}}
    assert refusal(comfyui, {})["error"] == error


def test_a_graph_whose_outputs_are_not_the_wanted_ones(comfyui: Server) -> None:
    answer = comfyui.post("/prompt", {"prompt": image_job(), "partial_execution_targets": ["1"]})
    assert answer.json()["error"]["type"] == "prompt_no_outputs"


def test_a_missing_input_is_told_of_the_node_that_lacks_it_not_of_those_below(comfyui: Server) -> None:
    graph = image_job()
    del graph["1"]["inputs"]["width"]
    body = refusal(comfyui, graph)
    problem = only_problem(body)
    assert problem == {
        "type": "required_input_missing",
        "message": "Required input is missing",
        "details": "width",
        "extra_info": {"input_name": "width"},
    }
    assert body["node_errors"]["1"]["class_type"] == "EmptyImage"
    assert body["error"]["message"] == "Prompt outputs failed validation"


@pytest.mark.parametrize(
    ("name", "value", "wrong", "message"),
    [
        ("width", 0, "value_smaller_than_min", "Value 0 smaller than min of 1"),
        ("width", 99999, "value_bigger_than_max", "Value 99999 bigger than max of 16384"),
        ("batch_size", "many", "invalid_input_type", "Failed to convert an input value to a INT value"),
        (
            "color",
            ["9", 0, 1],
            "bad_linked_input",
            "Bad linked input, must be a length-2 list of [node_id, slot_index]",
        ),
        ("color", ["1", 0], "return_type_mismatch", "Return type mismatch between linked nodes"),
    ],
)
def test_an_unfit_input(comfyui: Server, name: str, value: Any, wrong: str, message: str) -> None:
    problem = only_problem(refusal(comfyui, image_job(**{name: value})))
    assert (problem["type"], problem["message"]) == (wrong, message)
    assert problem["extra_info"]["input_name"] == name
    assert problem["extra_info"]["input_config"][0] == "INT"


def test_a_number_in_a_string_is_a_number(comfyui: Server) -> None:
    entry = comfyui.finished(comfyui.submit(image_job(height="24")))
    assert entry["prompt"][2]["1"]["inputs"]["height"] == 24


def test_a_value_that_is_none_of_the_choices(comfyui: Server) -> None:
    problem = only_problem(refusal(comfyui, fail_job("nonsense")), "1", "1")
    assert (problem["type"], problem["message"]) == ("value_not_in_list", "Value not in list")
    assert problem["details"] == "kind: 'nonsense' not in ['error', 'cuda_poisoned', 'cuda_error', 'cuda_oom']"
    assert problem["extra_info"]["received_value"] == "nonsense"


def test_a_link_to_a_node_that_is_not_there(comfyui: Server) -> None:
    graph = image_job()
    graph["2"]["inputs"]["images"] = ["9", 0]
    problem = only_problem(refusal(comfyui, graph), "2")
    assert problem["type"] == "exception_during_validation"
    assert problem["extra_info"]["exception_type"] == "KeyError"


def test_a_graph_with_one_good_output_is_queued_and_the_bad_one_told(comfyui: Server) -> None:
    graph = {**sleep_job(0), "2": {"class_type": "StandinFail", "inputs": {}}}
    answer = comfyui.post("/prompt", {"prompt": graph})
    assert answer.status_code == 200
    assert list(answer.json()["node_errors"]) == ["2"]
    entry = comfyui.finished(answer.json()["prompt_id"])
    assert (entry["prompt"][4], entry["status"]["status_str"]) == (["1"], "success")
