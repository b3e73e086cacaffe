"""An operator's pause: a file that the extension sees beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_supervisor.extension.comfy_supervisor_bridge.gate import Gate
from comfy_supervisor.jobs import pause


def test_a_pause_is_on_until_it_is_ended(tmp_path: Path) -> None:
    run, gate = str(tmp_path), Gate(str(tmp_path))
    assert (pause.ordered(run), gate.held) == (False, "")
    pause.begin(run, 7.5)
    assert (pause.ordered(run), gate.held) == (True, "paused")
    assert json.loads((tmp_path / "pause.json").read_text()) == {"v": 1, "since": 7.5}
    for _ in range(2):
        pause.end(run)
        assert (pause.ordered(run), gate.held) == (False, "")


def test_a_pause_that_can_not_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        pause.begin(str(tmp_path / "none"), 7.5)
