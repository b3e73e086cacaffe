"""What the server says of itself, and to whom it speaks."""

from __future__ import annotations

import pytest

from comfy_supervisor.standin.release import (
    DEPLOY_ENVIRONMENT,
    INTERMEDIATE_OUTPUT,
    IS_INPUT_LIST,
    JOBS_API,
    JOBS_CANCEL,
    PACKAGE_VERSIONS,
    SAVED_IMAGES_GO_ON,
    SEARCH_ALIASES,
    SYSTEM_NAME,
)
from tests.comfyui_server import Server, fail_job, image_job, sleep_job


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_the_cheapest_sign_of_life(comfyui: Server, prefix: str) -> None:
    assert comfyui.get(f"{prefix}/prompt") == {"exec_info": {"queue_remaining": 0}}


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_system_stats(comfyui: Server, prefix: str) -> None:
    stats = comfyui.get(f"{prefix}/system_stats")
    expected = {
        "os",
        "ram_total",
        "ram_free",
        "comfyui_version",
        "required_frontend_version",
        "installed_templates_version",
        "required_templates_version",
        "python_version",
        "pytorch_version",
        "embedded_python",
        "argv",
    }
    expected |= {"comfy_package_versions"} if comfyui.release.has(PACKAGE_VERSIONS) else set()
    expected |= {"deploy_environment"} if comfyui.release.has(DEPLOY_ENVIRONMENT) else set()
    assert set(stats) == {"system", "devices"}
    assert set(stats["system"]) == expected
    assert stats["system"]["os"] == ("linux" if comfyui.release.has(SYSTEM_NAME) else "posix")
    assert stats["system"]["comfyui_version"] == comfyui.release.version
    assert f"--port={comfyui.port}" in stats["system"]["argv"]
    (device,) = stats["devices"]
    assert (device["name"], device["type"], device["index"]) == ("cpu", "cpu", None)
    assert set(device) == {*("name", "type", "index", "vram_total", "vram_free", "torch_vram_total", "torch_vram_free")}
    assert device["vram_total"] == stats["system"]["ram_total"] >= device["vram_free"] > 0


def test_object_info_describes_one_class_of_nodes_or_all(comfyui: Server) -> None:
    known = comfyui.get("/object_info")
    assert {"EmptyImage", "SaveImage", "PreviewImage", "StandinSleep"} <= set(known)
    assert comfyui.get("/api/object_info/SaveImage") == {"SaveImage": known["SaveImage"]}
    assert comfyui.get("/object_info/NoSuchNode") == {}


def test_object_info_has_the_fields_of_the_release(comfyui: Server) -> None:
    info = comfyui.get("/object_info/EmptyImage")["EmptyImage"]
    expected = {
        *("input", "input_order", "output", "output_is_list", "output_name", "name", "display_name"),
        *("description", "python_module", "category", "output_node"),
    }
    expected |= {"is_input_list"} if comfyui.release.has(IS_INPUT_LIST) else set()
    expected |= {"has_intermediate_output"} if comfyui.release.has(INTERMEDIATE_OUTPUT) else set()
    expected |= {"search_aliases"} if comfyui.release.has(SEARCH_ALIASES) else set()
    assert set(info) == expected
    assert info["input"]["required"]["width"] == ["INT", {"default": 512, "min": 1, "max": 16384, "step": 1}]
    assert info["input_order"] == {"required": ["width", "height", "batch_size", "color"]}
    assert (info["output"], info["output_is_list"], info["output_name"]) == (["IMAGE"], [False], ["IMAGE"])
    assert (info["name"], info["category"], info["output_node"]) == ("EmptyImage", "image", False)


def test_nodes_that_save_hand_their_images_on_in_newer_releases(comfyui: Server) -> None:
    info = comfyui.get("/object_info/SaveImage")["SaveImage"]
    assert info["output"] == (["IMAGE"] if comfyui.release.has(SAVED_IMAGES_GO_ON) else [])
    assert info["output_node"] is True
    assert list(info["input"]) == ["required", "hidden"]
    assert info["input"]["required"]["filename_prefix"][1]["default"] == "ComfyUI"


@pytest.mark.parametrize(("origin", "status"), [("http://evil.example", 403), ("", 200)])
def test_foreign_web_pages_are_refused(comfyui: Server, origin: str, status: int) -> None:
    answer = comfyui.session.get(f"{comfyui.url}/prompt", headers={"Origin": origin or comfyui.url}, timeout=30)
    assert answer.status_code == status


def test_the_jobs_api_is_there_from_0_6_on(comfyui: Server) -> None:
    answer = comfyui.session.get(f"{comfyui.url}/api/jobs", timeout=30)
    assert answer.status_code == (200 if comfyui.release.has(JOBS_API) else 404)
    assert comfyui.session.get(f"{comfyui.url}/jobs", timeout=30).status_code == 404


def test_the_jobs_api_lists_all_jobs(comfyui: Server) -> None:
    if not comfyui.release.has(JOBS_API):
        pytest.skip("this release has no /api/jobs")
    done, failed = comfyui.submit(image_job()), comfyui.submit(fail_job())
    comfyui.finished(failed)
    running = comfyui.submit(sleep_job(60))
    comfyui.until_running(running)
    waiting = comfyui.submit(image_job())
    answer = comfyui.get("/api/jobs", sort_order="asc")
    assert [(job["id"], job["status"]) for job in answer["jobs"]] == [
        (done, "completed"),
        (failed, "failed"),
        (running, "in_progress"),
        (waiting, "pending"),
    ]
    assert answer["pagination"] == {"offset": 0, "limit": None, "total": 4, "has_more": False}
    assert answer["jobs"][0]["outputs_count"] == 1
    assert answer["jobs"][0]["preview_output"]["nodeId"] == "2"
    assert answer["jobs"][1]["execution_error"]["node_type"] == "StandinFail"
    page = comfyui.get("/api/jobs", status="completed,failed", limit=1)
    assert len(page["jobs"]) == 1
    assert page["pagination"] == {"offset": 0, "limit": 1, "total": 2, "has_more": True}


def test_the_jobs_api_shows_one_job(comfyui: Server) -> None:
    if not comfyui.release.has(JOBS_API):
        pytest.skip("this release has no /api/jobs")
    prompt_id = comfyui.submit(image_job())
    comfyui.finished(prompt_id)
    job = comfyui.get(f"/api/jobs/{prompt_id}")
    assert (job["status"], job["workflow"]["prompt"]) == ("completed", image_job())
    assert list(job["outputs"]) == ["2"]
    assert comfyui.session.get(f"{comfyui.url}/api/jobs/unknown", timeout=30).status_code == 404
    assert comfyui.session.get(f"{comfyui.url}/api/jobs?status=odd", timeout=30).status_code == 400
    assert comfyui.session.get(f"{comfyui.url}/api/jobs?limit=0", timeout=30).status_code == 400


def test_the_jobs_api_cancels_what_waits_or_runs(comfyui: Server) -> None:
    if not comfyui.release.has(JOBS_CANCEL):
        pytest.skip("this release has no /api/jobs/{id}/cancel")
    running = comfyui.submit(sleep_job(60))
    comfyui.until_running(running)
    waiting = comfyui.submit(image_job())
    for prompt_id, cancelled in ((waiting, True), (running, True), ("unknown", False)):
        assert comfyui.post(f"/api/jobs/{prompt_id}/cancel", {}).json() == {"cancelled": cancelled}
    assert comfyui.finished(running)["status"]["messages"][-1][0] == "execution_interrupted"
    assert comfyui.get(f"/history/{waiting}") == {}
