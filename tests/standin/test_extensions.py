"""Packages of custom nodes in the stand-in; what it has in common with ComfyUI is in the tests of both."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.comfyui_server import Server, sleep_job
from tests.support import wait_until

Start = Callable[..., Server]

COUNTER = """
import sys
from pathlib import Path

PromptQueue = type(sys.modules["server"].PromptServer.instance.prompt_queue)
original = PromptQueue.{method}

def counted(*arguments, **named):
    with Path(__file__).with_suffix(".{method}").open("a") as file:
        file.write("x")
    return original(*arguments, **named)

PromptQueue.{method} = counted
NODE_CLASS_MAPPINGS = {{}}
"""


def configure(file: Path, **sections: object) -> tuple[str, str]:
    """Write a configuration, and return the flags that name it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(sections))
    return "--extra-model-paths-config", str(file)


def extension(folder: Path, name: str, text: str = "NODE_CLASS_MAPPINGS = {}") -> Path:
    """Write a file that is one, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


def imported(server: Server) -> list[str]:
    """Return the names of those that were imported, in that order."""
    lines = server.log.partition("Import times for custom nodes:")[2].splitlines()
    return [Path(line.split(" seconds: ")[1]).name for line in lines if " seconds: " in line]


def test_two_extensions_can_stand_before_the_same_method(start: Start, tmp_path: Path) -> None:
    counters = [extension(tmp_path / "nodes", name, COUNTER.format(method="put")) for name in ("one", "two")]
    server = start(*configure(tmp_path / "c.yaml", ours={"custom_nodes": str(tmp_path / "nodes")})).until_ready()
    for _ in range(3):
        server.finished(server.submit(sleep_job(0)))
    assert [path.with_suffix(".put").read_text() for path in counters] == ["xxx", "xxx"]


def test_a_pause_holds_where_an_extension_stands_before_the_queue(start: Start, tmp_path: Path) -> None:
    counter = extension(tmp_path / "nodes", "one", COUNTER.format(method="get"))
    server = start(*configure(tmp_path / "c.yaml", ours={"custom_nodes": str(tmp_path / "nodes")})).until_ready()
    wait_until(counter.with_suffix(".get").exists)
    server.order("pause")
    job = server.submit(sleep_job(0))
    with pytest.raises(AssertionError, match="not within"):
        wait_until(lambda: server.get(f"/history/{job}"), 1.0)
    server.order("recover")
    server.finished(job)


def test_folders_are_found_from_the_file_or_its_base_path_and_the_default_goes_first(
    start: Start, tmp_path: Path
) -> None:
    """Several files may be named at once, and the option more than once; a folder that is named twice is one."""
    for name in ("beside", "below/base", "first", "last"):
        extension(tmp_path / name, name.rpartition("/")[2])
    one = configure(
        tmp_path / "one.yaml",
        beside={"custom_nodes": "beside\n", "checkpoints": "models"},
        below={"base_path": "below", "custom_nodes": "base\n../beside"},
    )
    two = configure(tmp_path / "two.yaml", first={"is_default": True, "custom_nodes": "first"})
    three = configure(tmp_path / "three.yaml", last={"custom_nodes": str(tmp_path / "last")})
    server = start(*one, two[1], *three).until_ready()
    assert imported(server) == ["first.py", "beside.py", "base.py", "last.py"]


def test_yaml_that_is_not_json_is_passed_over(start: Start, tmp_path: Path) -> None:
    extension(tmp_path / "nodes", "good")
    yaml = tmp_path / "user's.yaml"
    yaml.write_text("comfyui:\n  custom_nodes: /nowhere\n")
    config = configure(tmp_path / "c.yaml", ours={"custom_nodes": str(tmp_path / "nodes")})
    server = start(config[0], str(yaml), config[1]).until_ready()
    assert f"{yaml}: the stand-in reads only JSON here" in server.log
    assert imported(server) == ["good.py"]


def test_a_file_that_is_not_there_ends_the_start(start: Start, tmp_path: Path) -> None:
    server = start("--extra-model-paths-config", str(tmp_path / "missing.yaml"))
    assert server.until_ended() == 1
    assert "FileNotFoundError" in server.log


def test_their_nodes_are_left_out(start: Start, tmp_path: Path) -> None:
    path = extension(tmp_path / "nodes", "noder", "NODE_CLASS_MAPPINGS = {'Odd': object}")
    server = start(*configure(tmp_path / "c.yaml", ours={"custom_nodes": str(tmp_path / "nodes")})).until_ready()
    assert f"{path}: the stand-in leaves out its nodes: Odd\n" in server.log
    assert imported(server) == ["noder.py"]
    assert "Odd" not in server.get("/object_info")


def test_none_is_imported_where_all_are_disabled(start: Start, tmp_path: Path) -> None:
    extension(tmp_path / "nodes", "one")
    config = configure(tmp_path / "c.yaml", ours={"custom_nodes": str(tmp_path / "nodes")})
    server = start(*config, "--disable-all-custom-nodes").until_ready()
    assert "Import times" not in server.log
    assert "Skipping one.py due to" in server.log
