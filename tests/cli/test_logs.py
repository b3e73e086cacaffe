"""``logs``: the end of a log, and what is added to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_supervisor.following import plain, tail
from tests.cli.service import Service, Started
from tests.comfyui_server import image_job
from tests.support import wait_until


@pytest.fixture
def log(service: Service) -> Path:
    """Give the log of a ComfyUI that is not running."""
    service.ok("render")
    return service.state / "logs" / "comfyui.log"


def append(log: Path, *lines: str) -> None:
    with log.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)


def rotate(log: Path) -> None:
    """Do as supervisord does: what was written last is in the old file, what comes next in a new one."""
    log.rename(log.with_name(f"{log.name}.1"))


@pytest.mark.parametrize("width", [1, 300, 40_000])
@pytest.mark.parametrize("wanted", [0, 1, 3, 10, 11])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_the_last_lines_are_whole_however_long_they_are(end: bytes, wanted: int, width: int, tmp_path: Path) -> None:
    file = tmp_path / "log"
    lines = [b"%d%b" % (number, b"\xff" * width) for number in range(10)]
    file.write_bytes(b"\n".join(lines) + end)
    shown = b"\n".join(lines[max(0, 10 - wanted) :])
    assert tail(file, wanted) == (shown + end if wanted else b"")


def test_an_empty_log_has_no_lines(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.touch()
    assert tail(file, 3) == b""


def test_fifty_are_shown_unless_said_otherwise(service: Service, log: Path) -> None:
    append(log, *map(str, range(60)))
    assert service.ok("logs").splitlines() == [str(number) for number in range(10, 60)]
    assert service.ok("logs", "-n", "2", "comfyui") == "58\n59\n"
    assert "-3" in service.refused("logs", "-n", "-3")


def test_supervisords_own_log(up: Service) -> None:
    assert "supervisord started with pid" in up.ok("logs", "supervisord")


def test_the_health_listeners(up: Service) -> None:
    wait_until(lambda: "watching comfyui" in up.log("comfyui-health"))
    assert "watching comfyui\n" in up.ok("logs", "comfyui-health")
    assert "watching comfyui\n" not in up.ok("logs")


def test_a_health_listener_that_has_no_log(service: Service) -> None:
    service.ok("render")
    missing = "comfyui-health.log: not there yet: comfyui-health was never started; comfy-supervisor up"
    assert missing in service.refused("logs", "comfyui-health")
    service.settings(health={"watch": False})
    service.ok("render")
    assert "health.watch = false" in service.refused("logs", "comfyui-health")


def test_one_that_was_never_written_says_how_it_would_be(service: Service, log: Path) -> None:
    assert f"{log}: not there yet: ComfyUI was never started; comfy-supervisor up" in service.refused("logs")


@pytest.mark.parametrize("size", range(1, 12))
def test_colours_are_left_out_wherever_they_are_cut(size: int) -> None:
    log = b"\x1b[1;38;5;208mwarm\x1b[0m 50% [1m\x1b[K \xe2\x98\x83\x1b"
    chunks = [log[at : at + size] for at in range(0, len(log), size)]
    assert b"".join(plain(chunks)) == b"warm 50% [1m \xe2\x98\x83\x1b"


class TestFollow:
    def following(self, service: Service, *options: str) -> Started:
        return service.start("logs", "-f", *options)

    def test_what_is_added_is_shown_over_rotations_and_nothing_twice(self, service: Service, log: Path) -> None:
        append(log, *map(str, range(3)))
        logs = self.following(service, "-n", "2")
        logs.wait_for("2\n")
        for number in range(3, 30):
            append(log, str(number))
            if number % 10 == 0:
                rotate(log)
        wait_until(lambda: "29" in logs.output, what=logs.output)
        shown = [int(line) for line in logs.output.splitlines()]
        assert shown[0] == 1
        assert shown == sorted(set(shown))
        assert {1, 2, 3, 10, *range(21, 30)} <= set(shown)

    def test_supervisords_rotations_lose_no_line(self, service: Service) -> None:
        service.settings(logs={"max_bytes": 1024})
        service.ok("up", "-d")
        logs = self.following(service, "comfyui")
        rotated = service.state / "logs" / "comfyui.log.1"
        jobs = 0
        while not rotated.exists():
            service.submit(image_job(colour=jobs))
            jobs += 1
            logs.wait_for_count("got prompt", jobs)
        assert jobs > 2

    def test_a_log_that_is_not_there_yet_is_waited_for(self, service: Service, log: Path) -> None:
        logs = self.following(service)
        append(log, "first")
        logs.wait_for("first\n")

    def test_one_that_is_emptied_is_shown_from_its_beginning(self, service: Service, log: Path) -> None:
        append(log, "a long first line")
        logs = self.following(service)
        logs.wait_for("first line")
        log.write_text("new\n")
        logs.wait_for("new\n")

    def test_ctrl_c_ends_it(self, service: Service, log: Path) -> None:
        append(log, "first")
        logs = self.following(service)
        logs.wait_for("first")
        logs.interrupt()
        assert logs.end() == 130
        assert "Traceback" not in logs.output
