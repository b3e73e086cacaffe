"""The whole way with a real ComfyUI, on the CPU."""

from __future__ import annotations

import os

from tests.cli.service import DEADLINE, Service
from tests.comfyui_server import image_job
from tests.support import needs_comfyui


@needs_comfyui
def test_a_real_comfyui_runs_from_one_command(apart: Service) -> None:
    folders = {name: apart.folder / name for name in ("input", "output", "user")}
    for folder in folders.values():
        folder.mkdir()
    extra = [word for name, folder in folders.items() for word in (f"--{name}-directory", str(folder))]
    extra += ["--temp-directory", str(apart.folder), "--database-url", f"sqlite:///{apart.folder}/comfyui.db"]
    apart.settings(
        comfyui={
            "directory": os.environ["COMFYUI_DIR"],
            "python": os.environ.get("COMFYUI_PYTHON", ""),
            "extra_args": extra,
        }
    )
    assert "API ready in " in apart.ok("up", "-d")
    entry = apart.finished(apart.submit(image_job(prefix="first")))
    assert entry["status"]["status_str"] == "success"
    assert list(folders["output"].glob("first*.png"))
    assert apart.supervisorctl("stop", "comfyui").stdout == "comfyui: stopped\n"
    assert not apart.answers()
    assert "stopped: comfyui (exit status 0)" in apart.log("supervisord")
    assert apart.supervisorctl("start", "comfyui").stdout == "comfyui: started\n"
    apart.wait_for_api(deadline=DEADLINE)
    assert apart.finished(apart.submit(image_job(prefix="second")))["status"]["completed"]
    assert apart.run("status", "--exit-code").returncode == 0
    assert apart.ok("down") == "down\n"
    assert not apart.processes()
