"""What a package of custom nodes finds in ComfyUI, and can put itself before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from comfy_supervisor.standin.release import KEEPS_KEYS_APART
from tests.comfyui_server import Kind, Server, fail_job, image_job, sleep_job
from tests.contract import probe
from tests.support import wait_until

SINGLE = """
from pathlib import Path
Path(__file__).with_name("single.txt").write_text(__name__)
NODE_CLASS_MAPPINGS = {}
"""
UNTOLD = "from pathlib import Path\nPath(__file__).with_suffix('.txt').touch()\n"
"""Leaves a file beside itself if it is imported."""
WANTED = ("probe", "single.py", "broken", "empty", "no_mappings.py", "gone.disabled", "standin_nodes.py")


@dataclass
class Extended:
    """A ComfyUI with extensions."""

    server: Server
    folder: Path
    """The extensions'."""
    file: Path
    """The probe's."""

    def said(self, what: str = "") -> list[dict[str, Any]]:
        """Return what the probe wrote down."""
        lines = [json.loads(line) for line in self.file.read_text().splitlines()]
        return [line for line in lines if what in {"", line["what"]}]

    def during(self, deed: Callable[[], object], what: str) -> list[dict[str, Any]]:
        """Return what the probe wrote down of one kind while something was done."""
        before = len(self.said(what))
        deed()
        return self.said(what)[before:]


def make_extensions(folder: Path) -> None:
    """Write good ones, bad ones, and some that are not to be loaded."""
    for name in ("probe", "broken", "empty", "gone.disabled", "__pycache__"):
        (folder / name).mkdir(parents=True)
    shutil.copy(probe.__file__, folder / "probe" / "__init__.py")
    (folder / "single.py").write_text(SINGLE)
    (folder / "broken" / "__init__.py").write_text("raise RuntimeError('broken on purpose')")
    (folder / "no_mappings.py").write_text("")
    for name in ("unwanted.py", "gone.disabled/__init__.py", "__pycache__/__init__.py", "notes.txt"):
        (folder / name).write_text(UNTOLD)


@pytest.fixture(scope="module")
def extended(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Extended]:
    """One process for all tests here. A dot in a folder's name shows in the names of the modules."""
    home = tmp_path_factory.mktemp("v1.2-extended")
    make_extensions(home / "extensions")
    config = home / "extensions.yaml"
    config.write_text(json.dumps({"nothing": None, "tests": {"custom_nodes": "extensions\n"}}))
    flags = ("--extra-model-paths-config", str(config), "--disable-all-custom-nodes")
    server = Server(
        kind,
        home / "comfyui",
        *flags,
        "--whitelist-custom-nodes",
        *WANTED,
        environment={"PROBE": str(home / "said.jsonl")},
    )
    try:
        yield Extended(server.until_ready(), home / "extensions", home / "said.jsonl")
    finally:
        server.stop()


def test_good_ones_are_imported_under_names_of_their_paths(extended: Extended) -> None:
    assert extended.said("surface")[0]["module"] == str(extended.folder / "probe").replace(".", "_x_")
    assert (extended.folder / "single.txt").read_text() == str(extended.folder / "single")
    assert f" seconds: {extended.folder / 'probe'}\n" in extended.server.log
    assert f" seconds: {extended.folder / 'single.py'}\n" in extended.server.log


@pytest.mark.parametrize("name", ["broken", "empty"])
def test_broken_ones_are_survived(extended: Extended, name: str) -> None:
    path = extended.folder / name
    assert f"Cannot import {path} module for custom nodes: " in extended.server.log
    assert f" seconds (IMPORT FAILED): {path}\n" in extended.server.log
    assert ("RuntimeError: broken on purpose" in extended.server.log) or name == "empty"


def test_one_without_nodes_is_imported_and_complained_of(extended: Extended) -> None:
    path = extended.folder / "no_mappings.py"
    assert f"Skip {path} module for custom nodes due to the lack of NODE_CLASS_MAPPINGS" in extended.server.log
    assert f" seconds (IMPORT FAILED): {path}\n" in extended.server.log


def test_others_are_left_out(extended: Extended) -> None:
    assert "Skipping unwanted.py due to disable_all_custom_nodes and whitelist_custom_nodes" in extended.server.log
    assert [path.name for path in extended.folder.rglob("*.txt") if path.stat().st_size == 0] == []
    assert "gone.disabled" not in extended.server.log
    assert "__pycache__ due to" not in extended.server.log


def test_the_surface_that_extensions_see(extended: Extended) -> None:
    """Names, parameters and types; where releases differ, what they have in common."""
    (found,) = extended.said("surface")
    assert not found["has_worker"]
    assert found["loop_runs"]
    assert found["queue_class"]
    assert {"auth_token_comfy_org", "api_key_comfy_org"} <= set(found["keys"])
    assert found["attributes"] == {
        "mutex": "RLock",
        "not_empty": "Condition",
        "queue": "list",
        "currently_running": "dict",
        "flags": "dict",
        "history": "dict",
    }
    assert found["status"] == ["status_str", "completed", "messages"]
    assert found["send_sync"] == "self event data sid"
    assert found["queue_updated"] == "self"
    assert found["execute"].startswith("server dynprompt caches current_item ")
    assert found["execute_is_async"]
    assert found["interrupt_processing"] == "value"


def test_the_methods_of_the_queue(extended: Extended) -> None:
    methods = extended.said("surface")[0]["queue_methods"]
    assert methods.pop("task_done").startswith("self item_id history_result status")
    assert methods == {
        "put": "self item",
        "get": "self timeout",
        "wipe_queue": "self",
        "delete_queue_item": "self function",
        "get_current_queue": "self",
        "get_current_queue_volatile": "self",
        "get_tasks_remaining": "self",
        "get_history": "self prompt_id max_items offset map_function",
        "wipe_history": "self",
        "delete_history_item": "self id_to_delete",
        "set_flag": "self name data",
        "get_flags": "self reset",
    }


def test_an_extension_is_called_for_each_job(extended: Extended) -> None:
    """From its way into the queue to its end, and for each node and event in between."""
    server, before = extended.server, len(extended.said())
    jobs = [server.submit(image_job(colour=colour)) for colour in (1, 2)]
    for job in jobs:
        server.finished(job)
    wait_until(lambda: len(extended.said("task_done")) >= 2)
    said = [line for line in extended.said()[before:] if line["what"] != "send_sync"]
    length = 6 if server.release.has(KEEPS_KEYS_APART) else 5
    assert [line for line in said if line["what"] == "put"] == [
        {"what": "put", "job": job, "length": length} for job in jobs
    ]
    assert [(line["job"], line["waits"], line["copied"]) for line in said if line["what"] == "get" and line["job"]] == [
        (job, True, True) for job in jobs
    ]
    assert [line["class_type"] for line in said if line["what"] == "execute"] == ["EmptyImage", "SaveImage"] * 2
    done = [line for line in said if line["what"] == "task_done"]
    assert [(line["completed"], line["still_runs"], line["messages"][-1]) for line in done] == [
        (True, False, "execution_success")
    ] * 2
    order = [line["what"] for line in said if line["what"] in {"interrupt_processing", "execute", "task_done"}]
    assert order == ["interrupt_processing", "execute", "execute", "task_done"] * 2


def test_a_failed_job_says_so(extended: Extended) -> None:
    server = extended.server
    done = extended.during(lambda: server.finished(server.submit(fail_job())), "task_done")
    assert [(line["completed"], line["messages"][-1]) for line in done] == [(False, "execution_error")]


def test_interrupts_go_through_the_module_s_function(extended: Extended) -> None:
    server = extended.server

    def interrupt_it() -> None:
        known = len(extended.said("interrupt_processing"))
        job = server.submit(sleep_job(60))
        wait_until(lambda: len(extended.said("interrupt_processing")) > known)  # what is asked before that is forgotten
        server.until_running(job)
        server.post("/interrupt", {"prompt_id": job})
        server.finished(job)

    before = len(extended.said("task_done"))
    assert [line["value"] for line in extended.during(interrupt_it, "interrupt_processing")] == [False, True]
    assert extended.said("task_done")[before]["messages"][-1] == "execution_interrupted"


def test_deleting_goes_through_the_queue_s_methods(extended: Extended) -> None:
    """The last waiting job is deleted by both."""
    server = extended.server
    running = server.submit(sleep_job(60))
    server.until_running(running)
    jobs = [server.submit(image_job()) for _ in range(4)]
    deleted = extended.during(lambda: server.post("/queue", {"delete": jobs[:1]}), "delete_queue_item")
    assert deleted == [{"what": "delete_queue_item", "found": True}]
    wiped = extended.during(lambda: server.post("/queue", {"delete": [*jobs[1:], "nobody's"]}), "wipe_queue")
    assert len(wiped) == 1
    assert extended.said("delete_queue_item")[-1] == {"what": "delete_queue_item", "found": False}
    server.submit(image_job())
    assert len(extended.during(lambda: server.post("/queue", {"clear": True}), "wipe_queue")) == 1
    server.post("/interrupt", {})
    server.finished(running)


def test_events_go_through_send_sync(extended: Extended) -> None:
    server = extended.server
    job = sleep_job(0.1, steps=2)
    said = extended.during(lambda: server.finished(server.submit(job, client_id="somebody")), "send_sync")
    events = [line["event"] for line in said]
    assert {"status", "execution_start", "executing", "progress", "executed", "execution_success"} <= set(events)
    assert events.count("progress") == 2
