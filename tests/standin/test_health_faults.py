"""What the stand-in does wrong for the tests of the health listener."""

from __future__ import annotations

import psutil
import pytest
import requests

from tests.comfyui_server import Server, fail_job, sleep_job
from tests.standin.test_faults import Start, cpu_seconds
from tests.support import wait_until


def test_a_paused_queue_takes_no_job_until_it_goes_on(server: Server) -> None:
    server.order("pause")
    prompt_id = server.submit(sleep_job(0))
    with pytest.raises(AssertionError, match="not within"):
        wait_until(lambda: server.get("/queue")["queue_running"] or server.get(f"/history/{prompt_id}"), 1.0)
    assert server.remaining() == 1
    server.order("recover")
    server.finished(prompt_id)


def test_a_closed_port_refuses_everybody_and_lives_on(start: Start) -> None:
    server = start().until_ready()
    server.order("close_port")
    process = psutil.Process(server.process.pid)
    connections = getattr(process, "net_connections", None) or process.connections  # its name before psutil 6
    wait_until(lambda: not connections("tcp"))
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{server.url}/prompt", timeout=30)
    assert server.process.poll() is None


def test_a_loading_job_reads_and_does_nothing_else(server: Server) -> None:
    process = psutil.Process(server.process.pid)
    read, burned = process.io_counters().read_chars, cpu_seconds(server)
    load = {"1": {"class_type": "StandinLoad", "inputs": {"seconds": 2, "mib_per_second": 4}}}
    server.finished(server.submit(load))
    assert process.io_counters().read_chars - read > 1024**2  # of 8, on a machine that has time
    assert cpu_seconds(server) - burned < 1.5


def test_a_remote_node_says_so_and_hears_an_interrupt(server: Server) -> None:
    assert server.get("/object_info/StandinRemote")["StandinRemote"]["api_node"] is True
    assert "api_node" not in server.get("/object_info/StandinSleep")["StandinSleep"]
    prompt_id = server.submit({"1": {"class_type": "StandinRemote", "inputs": {"seconds": 60}}})
    server.until_running(prompt_id)
    server.post("/interrupt", {"prompt_id": prompt_id})
    server.finished(prompt_id)


def test_a_cuda_error_of_one_call_harms_no_other_job(server: Server) -> None:
    error = server.finished(server.submit(fail_job("cuda_error")))["status"]["messages"][-1][1]
    assert error["exception_message"].startswith("CUDA error: invalid argument")
    assert server.finished(server.submit(sleep_job(0)))["status"]["status_str"] == "success"
