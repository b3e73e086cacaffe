"""``comfy-supervisor gpus --json``: what programs read of each GPU."""

from __future__ import annotations

import json
from typing import Any

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


def test_a_lost_one_has_its_problem_and_no_flags(gpu_service: Service, nvml: Nvml) -> None:
    nvml.cards([Card(), Card()])
    nvml.fail("GPU_IS_LOST", "nvmlDeviceGetMemoryInfo", 1)
    nvml.fail("GPU_IS_LOST", "nvmlDeviceGetMemoryInfo_v2", 1)
    code, (well, lost) = gpus(gpu_service)
    assert code == 1
    assert (well["state"], well["problem"]) == ("ok", "")
    assert (lost["index"], lost["state"], lost["tier"], lost["flags"], lost["reasons"]) == (1, "lost", None, [], {})
    assert lost["problem"]


def test_a_machine_without_gpus_has_none_and_no_trouble(gpu_service: Service) -> None:
    assert gpus(gpu_service) == (0, [])
