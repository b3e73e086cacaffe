"""A ComfyUI that does not get going is explained where its operator looks first."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_supervisor import rendered, why
from comfy_supervisor.doctor import service
from comfy_supervisor.launch import holds
from comfy_supervisor.launch.holds import Hold

LOGS = Path(__file__).parent / "catalogue" / "logs"
MODULE = LOGS / "missing_module" / "0.33.0-torchsde.exit-1.log"
HEALTHY = LOGS / "healthy" / "0.33.0-jobs.log"


def test_the_last_death_is_told_with_its_mend() -> None:
    cause, mend = why.told(why.ended(MODULE))
    assert cause.startswith("missing_module: ")
    assert "torchsde" in cause
    assert mend.startswith("fix: ")


@pytest.mark.parametrize("log", [HEALTHY, LOGS / "none.log", LOGS])
def test_where_nothing_is_known_nothing_is_said(log: Path) -> None:
    assert why.told(why.ended(log)) == ()


def test_of_a_long_log_the_end_is_read(tmp_path: Path) -> None:
    log = tmp_path / "comfyui.log"
    log.write_bytes(MODULE.read_bytes() + HEALTHY.read_bytes() * 1000)
    assert log.stat().st_size > why._TAIL
    assert why.ended(log) is None, "what is long past is not brought up again"
    log.write_bytes(HEALTHY.read_bytes() * 1000 + MODULE.read_bytes())
    assert why.told(why.ended(log)) == why.told(why.ended(MODULE))


@pytest.mark.parametrize(
    ("hold", "is_told"),
    [
        (Hold(holds.BACKOFF, "3 short lives", 0.0), True),
        (Hold(holds.GAVE_UP, "it died ten times", 0.0, cause="unknown"), True),
        (Hold(holds.CONFIGURATION, "it can't run", 0.0, cause="missing_module"), True),
        (Hold(holds.CONFIGURATION, "port 8188 is held", 0.0, cause="port_in_use"), False),
        (Hold(holds.MAINTENANCE, "somebody's order", 0.0), False),
        (Hold(holds.GPU_FAULT, "GPU 0 is lost", 0.0), False),
    ],
)
def test_a_hold_is_explained_by_the_death_that_it_is_for(hold: Hold, is_told: bool) -> None:
    assert bool(why.held(hold, MODULE)) is is_told


def test_the_doctor_says_it_too() -> None:
    instance = rendered.Rendered("comfyui", "cpu", ("127.0.0.1:8188",), Path("/nowhere"), Path("/nowhere"), MODULE, "")
    found = service._held(instance, Hold(holds.GAVE_UP, "it died ten times", 0.0))
    assert "missing_module: " in found.found
    assert "pip install" in found.mend
    assert "comfy-supervisor start comfyui" in found.mend
