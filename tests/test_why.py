"""A ComfyUI that does not get going is explained where its operator looks first."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_supervisor import rendered, why
from comfy_supervisor.doctor import service
from comfy_supervisor.launch import holds, lastword
from comfy_supervisor.launch.holds import Hold
from tests.supervisord import Supervisord
from tests.support import wait_until

LOGS = Path(__file__).parent / "catalogue" / "logs"
MODULE = LOGS / "missing_module" / "0.33.0-torchsde.exit-1.log"
NOBODY = "unix:///nowhere"
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


@pytest.mark.parametrize("end", ["", "exited: exit status 0; expected", "exited: terminated by SIGTERM; not expected"])
def test_a_custom_node_that_comfyui_goes_on_without_is_no_reason_for_its_end(tmp_path: Path, end: str) -> None:
    log = tmp_path / "comfyui.log"
    log.write_bytes(b"Cannot import /x/custom_nodes/Faces module for custom nodes: No module\n" + HEALTHY.read_bytes())
    assert why.ended(log, end) is None


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
    assert bool(why.held(hold, MODULE, NOBODY, "comfyui")) is is_told


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        ("exited: terminated by SIGSEGV; not expected", "segfault"),
        ("exited: terminated by SIGKILL; not expected", "host_oom_killed"),
        ("exited: exit status 0; expected", ""),
        ("stopped: terminated by SIGKILL", ""),
    ],
)
def test_a_death_of_which_the_log_says_nothing_is_told_by_how_it_ended(end: str, cause: str) -> None:
    found = why.ended(HEALTHY, end)
    assert (found.cause if found else "") == cause
    text = f"2 short lives in a row, the last one 3 s ({end}); next start in 10 s"
    if not end.startswith("stopped"):
        found = why.held(Hold(holds.BACKOFF, text, 0.0), HEALTHY, NOBODY, "comfyui")
        assert (found.cause if found else "") == cause


def test_what_the_next_lifes_launcher_says_already_hides_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    ours = b"2026-11-29 20:02:02 comfy-supervisor: waiting (backoff): 2 short lives in a row\n"
    log.write_bytes(MODULE.read_bytes() + ours)
    found = why.ended(log, "exited: exit status 1; not expected")
    assert found
    assert found.cause == "missing_module"


def test_supervisord_is_asked_how_the_last_life_ended(supervisord: Supervisord) -> None:
    """A hold of the listener's doesn't tell that."""
    supervisord.start("[program:comfyui]\ncommand=sh -c 'kill -SEGV $$'\nstartsecs=0\nautorestart=false\n")
    wait_until(lambda: "terminated by SIGSEGV" in lastword.ending(supervisord.url, "comfyui", 0))
    found = why.held(Hold(holds.GAVE_UP, "5 deaths within 60 min", 0.0), HEALTHY, supervisord.url, "comfyui")
    assert found
    assert found.cause == "segfault"


def test_the_doctor_says_it_too() -> None:
    instance = rendered.Rendered("comfyui", "cpu", ("127.0.0.1:8188",), Path("/nowhere"), Path("/nowhere"), MODULE, "")
    found = service._held(NOBODY, instance, Hold(holds.GAVE_UP, "it died ten times", 0.0))
    assert "missing_module: " in found.found
    assert "pip install" in found.mend
    assert "comfy-supervisor start comfyui" in found.mend
