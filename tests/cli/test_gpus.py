"""``comfy-supervisor gpus --json``: what programs read of each GPU."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from comfy_supervisor import rendered
from tests.cli.service import Service
from tests.nvml import Card, Nvml

FIELDS = {"index", "uuid", "name", "memory_mib", "nominal_gb", "tier", "flags", "reasons", "state"}
"""The fields that are promised; more may follow."""


def gpus(service: Service) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit code and the rows."""
    done = service.run("gpus", "--json")
    return done.returncode, json.loads(done.stdout)


def test_each_gpu_with_its_flags_and_why(gpu_service: Service, nvml: Nvml) -> None:
    nvml.cards([Card("NVIDIA GeForce RTX 4090", uuid="GPU-big"), Card("Small", 8192, uuid="GPU-small")])
    code, (big, small) = gpus(gpu_service)
    assert code == 0
    for row in (big, small):
        assert row.keys() >= FIELDS
        assert set(row["reasons"]) <= set(row["flags"])
        assert all(row["reasons"].values())
    assert {key: big[key] for key in ("index", "uuid", "name", "memory_mib", "nominal_gb", "tier", "state")} == {
        "index": 0,
        "uuid": "GPU-big",
        "name": "NVIDIA GeForce RTX 4090",
        "memory_mib": 24564,
        "nominal_gb": 24,
        "tier": "gpu-only",
        "state": "ok",
    }
    assert {key: small[key] for key in ("index", "uuid", "name", "memory_mib", "nominal_gb", "tier", "state")} == {
        "index": 1,
        "uuid": "GPU-small",
        "name": "Small",
        "memory_mib": 8192,
        "nominal_gb": 8,
        "tier": "lowvram",
        "state": "ok",
    }
    assert "--gpu-only" in big["flags"]
    assert "--lowvram" in small["flags"]
    assert small["flags"][small["flags"].index("--cuda-device") + 1] == "1"


def test_reasons_stand_in_one_column(gpu_service: Service, nvml: Nvml) -> None:
    """Also that of an option which is longer than the column before, as several instances' folders are."""
    nvml.cards([Card(), Card()])
    gpu_service.settings(gpu={"devices": "all"})
    lines = gpu_service.ok("gpus").splitlines()
    folders = [below for line, below in pairwise(lines) if line.startswith("  --output-directory /")]
    assert folders == [f"{'':31}one of several instances: shared, they would lose each other's files"] * 2


def test_the_flags_are_those_that_are_rendered(gpu_service: Service, nvml: Nvml) -> None:
    """Port and folders of each of several included; and what is remembered of them."""
    nvml.cards([Card("Small", 8192), Card(), Card()])
    gpu_service.settings(gpu={"devices": [1, 2]})
    gpu_service.ok("render")
    code, (spare, *used) = gpus(gpu_service)
    assert code == 0
    assert (spare["program"], spare["state"]) == (None, "ok")
    assert "--lowvram" in spare["flags"]
    assert [row["program"] for row in used] == ["comfyui:gpu1", "comfyui:gpu2"]
    for row, instance in zip(used, rendered.read(gpu_service.conf).instances, strict=True):
        assert list(instance.command[2:]) == row["flags"]
        assert {"--output-directory", "--temp-directory"} <= set(row["flags"])
    ports = [row["flags"][row["flags"].index("--port") + 1] for row in used]
    assert ports == [str(gpu_service.port), str(gpu_service.port + 1)]


def test_a_card_that_is_not_used_is_said_to_be_so(gpu_service: Service, nvml: Nvml) -> None:
    nvml.cards([Card(), Card("Small", 8192)])
    titles = [line for line in gpu_service.ok("gpus").splitlines() if line.startswith("GPU ")]
    assert titles[0].endswith("  gpu-only  comfyui")
    assert titles[1].endswith("  lowvram  not used; it would get:")


def test_the_cpu_by_choice_is_said(gpu_service: Service, nvml: Nvml) -> None:
    nvml.cards([Card()])
    gpu_service.settings(gpu={"devices": "cpu"})
    said = gpu_service.ok("gpus")
    assert 'No GPU is used: gpu.devices = "cpu"' in said
    assert "not used" in said
    assert [row["program"] for row in gpus(gpu_service)[1]] == [None]


def test_without_a_comfyui_the_newest_release_is_meant(gpu_service: Service, nvml: Nvml, tmp_path: Path) -> None:
    nvml.cards([Card(), Card()])
    gpu_service.settings(comfyui={"directory": str(tmp_path / "none")}, gpu={"devices": "all"})
    done = gpu_service.run("gpus", "--json")
    assert done.returncode == 0
    assert "; the flags are for ComfyUI " in done.stderr
    assert [row["program"] for row in json.loads(done.stdout)] == ["comfyui:gpu0", "comfyui:gpu1"]


def test_gpus_that_cannot_be_meant_are_an_answer_of_no(gpu_service: Service, nvml: Nvml) -> None:
    nvml.cards([Card()])
    gpu_service.settings(gpu={"devices": [7]})
    done = gpu_service.run("gpus", "--json")
    assert done.returncode == 1
    assert "gpu.devices: 7: no such GPU" in done.stderr
    assert [row["program"] for row in json.loads(done.stdout)] == [None]


def test_a_lost_one_has_its_problem_and_no_flags(gpu_service: Service, nvml: Nvml) -> None:
    nvml.cards([Card(), Card()])
    nvml.fail("GPU_IS_LOST", "nvmlDeviceGetMemoryInfo", 1)
    nvml.fail("GPU_IS_LOST", "nvmlDeviceGetMemoryInfo_v2", 1)
    code, (well, lost) = gpus(gpu_service)
    assert code == 1
    assert (well["state"], well["problem"]) == ("ok", "")
    assert (lost["index"], lost["state"], lost["tier"], lost["flags"], lost["reasons"]) == (1, "lost", None, [], {})
    assert lost["problem"]


@pytest.mark.parametrize("devices", ["all", [0, 1], ["GPU-a", "GPU-b"]])
def test_one_that_has_vanished_is_named_by_every_command(gpu_service: Service, nvml: Nvml, devices: Any) -> None:
    """As a dead card does after a reboot: NVML no longer lists it, and the cards behind it move up."""
    gpu_service.settings(gpu={"devices": devices})
    a, b, c = (Card(uuid=f"GPU-{name}", pci=f"00000000:0{name}:00.0") for name in "abc")
    nvml.cards([a, b, c])
    gpu_service.ok("render")
    nvml.cards([a, c])
    code, rows = gpus(gpu_service)
    assert code == 1
    gone = next(row for row in rows if row["uuid"] == "GPU-b")
    assert (gone["index"], gone["state"], gone["program"], gone["flags"]) == (None, "lost", None, [])
    assert "is not there any more" in gone["problem"]
    said = "GPU-b (gpu1) is not there any more: look at its power"
    assert said in gpu_service.run("render").stderr
    assert "GPU-b (gpu1, port" in gpu_service.conf.read_text()
    assert "GPU, vanished  lost" in gpu_service.run("gpus").stdout
    assert any(said in line["found"] for line in json.loads(gpu_service.run("doctor", "--json").stdout))
    assert next(row for row in gpus(gpu_service)[1] if row["uuid"] == "GPU-a")["program"] == "comfyui:gpu0"


def test_a_lone_instance_that_goes_on_on_another_card_says_so_once(gpu_service: Service, nvml: Nvml) -> None:
    a, b = Card(uuid="GPU-a", pci="00000000:01:00.0"), Card("Small", 8192, uuid="GPU-b", pci="00000000:02:00.0")
    nvml.cards([a, b])
    gpu_service.ok("render")
    nvml.cards([b])
    done = gpu_service.run("render")
    assert "GPU-a is not there any more: look at its power" in done.stderr
    assert "gpu0 runs on GPU-b instead" in done.stderr
    assert "GPU-a" not in gpu_service.run("render").stderr
    nvml.cards([Card(uuid="GPU-new", pci="00000000:02:00.0")])  # in the slot of the other one: a replacement
    assert "not there any more" not in gpu_service.run("render").stderr


def test_a_machine_without_gpus_has_none_and_no_trouble(gpu_service: Service) -> None:
    assert gpus(gpu_service) == (0, [])
