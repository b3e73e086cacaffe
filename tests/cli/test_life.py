"""What becomes of ComfyUI under a rendered configuration: its jobs, its deaths, its logs."""

from __future__ import annotations

import os
import signal

import psutil

from tests.cli.service import Service
from tests.comfyui_server import STANDIN_FOLDER, image_job
from tests.support import make_program, wait_until


def test_a_job_gets_done(up: Service) -> None:
    entry = up.finished(up.submit(image_job()))
    assert entry["status"]["status_str"] == "success"
    assert entry["outputs"]["2"]["images"][0]["filename"].startswith("test")


def test_the_process_has_what_was_rendered(up: Service) -> None:
    process = psutil.Process(up.pid())
    environ = process.environ()
    assert environ["TQDM_DISABLE"] == "1"
    assert environ["CUDA_VISIBLE_DEVICES"] == ""
    assert process.cmdline()[2:] == [
        *("--listen", "127.0.0.1", "--port", str(up.port)),
        *("--cpu", "--disable-auto-launch", "--dont-print-server"),
        *("--extra-model-paths-config", f"{up.state}/extension.yaml"),
    ]
    assert process.ppid() == up.supervisord_pid()
    soft, hard = psutil.Process().rlimit(psutil.RLIMIT_NOFILE)
    assert process.rlimit(psutil.RLIMIT_NOFILE)[0] == max(soft, min(8192, hard))


def test_a_crash_is_up_again_at_once(service: Service) -> None:
    service.ok("up", "-d")
    pid = service.pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: service.rpc.state() and service.info().pid not in {0, pid})
    service.wait_for_api()
    assert "waiting (backoff)" not in service.log()
    assert service.finished(service.submit(image_job()))["status"]["completed"]


def test_a_crash_loop_backs_off_and_is_never_fatal(service: Service) -> None:
    service.settings(
        comfyui={"environment": {"STANDIN_START": "end:1"}}, restart={"first_delay": 1, "longest_delay": 2}
    )
    assert service.run("up", "-d").returncode == 1
    service.wait_for_log("3 short lives in a row")
    assert "FATAL" not in service.log("supervisord")
    assert service.info().statename == "RUNNING"
    (row,) = service.status()
    assert (row["state"], row["ready"]) in {("HELD", False), ("RUNNING", False)}
    service.ok("stop")
    assert service.info().statename == "STOPPED"


def test_no_instance_stays_down_when_its_command_comes_back(service: Service) -> None:
    python = make_program(service.folder / "python", f'exec {service.python} "$@"')
    service.settings(comfyui={"directory": str(STANDIN_FOLDER), "python": str(python)})
    service.ok("up", "-d")
    service.ok("stop")
    python.rename(service.folder / "away")
    service.ok("start")
    wait_until(lambda: service.status()[0]["state"] == "HELD")
    assert service.status()[0]["text"] == f"{python} does not exist"
    (service.folder / "away").rename(python)
    service.wait_for_api()
