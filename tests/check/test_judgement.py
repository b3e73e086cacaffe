"""What is found, and what the checklist makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_supervisor.check import backend, boot, device, generation, latency, logs, recovery
from comfy_supervisor.check.backend import Reach
from comfy_supervisor.check.boot import Boot, Unit
from comfy_supervisor.check.device import Device
from comfy_supervisor.check.generation import Run
from comfy_supervisor.check.latency import Latency
from comfy_supervisor.check.line import Verdict
from comfy_supervisor.check.logs import Log
from comfy_supervisor.check.vram import NVML, Watch
from comfy_supervisor.check.workflow import Graph, renewed
from comfy_supervisor.health.ledger import Report
from comfy_supervisor.rendered import Rendered
from comfy_supervisor.status import HELD, Status

HOLDS, FAILS, UNKNOWN = Verdict.HOLDS, Verdict.FAILS, Verdict.UNKNOWN
NOW = 1_000_000.0


class TestBoot:
    OURS = Unit("comfyui-headless.service")
    BOOT = Boot(1234, OURS, OURS, "enabled", "/sbin/init", "comfyui", lingers=False)

    @pytest.mark.parametrize(
        ("word", "verdict"),
        [
            ("enabled", HOLDS),
            ("enabled-runtime", FAILS),
            ("disabled", FAILS),
            ("masked", FAILS),
            ("static", UNKNOWN),
            ("", UNKNOWN),
        ],
    )
    def test_a_unit(self, word: str, verdict: Verdict) -> None:
        assert boot.judge(replace(self.BOOT, word=word)).verdict is verdict

    def test_a_users_own_unit_needs_lingering(self) -> None:
        own = replace(self.BOOT, runner=Unit("a.service", user=True), asked=Unit("a.service", user=True))
        assert boot.judge(own).mend == "sudo loginctl enable-linger comfyui"
        assert boot.judge(replace(own, lingers=True)).verdict is HOLDS

    def test_an_enabled_one_that_did_not_start_what_runs(self) -> None:
        line = boot.judge(replace(self.BOOT, runner=None))
        assert line.verdict is HOLDS
        assert "what runs now (pid 1234) was started otherwise" in line.found

    def test_a_container_is_its_engines(self) -> None:
        contained = replace(self.BOOT, runner=None, word="", first="/sbin/tini -- comfy-supervisor up")
        assert boot.judge(contained).verdict is UNKNOWN

    def test_started_by_hand(self) -> None:
        assert boot.judge(replace(self.BOOT, runner=None, word="")).verdict is FAILS

    @pytest.mark.parametrize(
        ("cgroup", "unit"),
        [
            ("0::/system.slice/comfyui-headless.service\n", Unit("comfyui-headless.service")),
            ("1:name=systemd:/system.slice/supervisor.service\n0::/\n", Unit("supervisor.service")),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/a.service\n", Unit("a.service", user=True)),
            ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope\n", None),
            ("0::/\n", None),
            ("", None),
        ],
    )
    def test_the_unit_is_in_the_cgroup(self, cgroup: str, unit: Unit | None) -> None:
        assert boot.unit(cgroup) == unit


class TestDevice:
    CUDA = Device("cuda", "cuda:0 NVIDIA H100 : native", 81559, "2.5.1+cu124")
    CPU = Device("cpu", "cpu", 0, "2.5.1")

    @pytest.mark.parametrize(
        ("found", "cpu_meant", "standin", "verdict"),
        [
            (CUDA, False, False, HOLDS),
            (CUDA, False, True, FAILS),
            (CPU, False, False, FAILS),
            (CPU, True, False, HOLDS),
            (CPU, True, True, HOLDS),
            (Device(trouble="HTTP 500"), True, False, FAILS),
        ],
    )
    def test_cuda_or_what_the_settings_say(
        self, found: Device, cpu_meant: bool, standin: bool, verdict: Verdict
    ) -> None:
        assert device.judge(found, cpu_meant=cpu_meant, standin=standin).verdict is verdict

    @pytest.mark.parametrize("stats", [None, {}, {"devices": []}, {"devices": [{}], "system": {}}, [1]])
    def test_an_answer_that_names_none(self, stats: object) -> None:
        assert device.understood(stats).trouble


class TestLatency:
    def test_a_quantile_is_the_nearest_rank(self) -> None:
        found = Latency("/", tuple(float(number) for number in range(20, 0, -1)))
        assert [found.quantile(share) for share in (0.5, 0.95, 1.0)] == [10.0, 19.0, 20.0]
        assert Latency("/", (3.0,)).quantile(0.95) == 3.0

    @pytest.mark.parametrize(("slow", "verdict"), [(1, HOLDS), (2, FAILS)])
    def test_one_in_twenty_may_be_slow(self, slow: int, verdict: Verdict) -> None:
        times = (0.2,) * slow + (0.001,) * (20 - slow)
        assert latency.judge([Latency("/prompt", times)], 0).verdict is verdict

    def test_one_endpoint_suffices(self) -> None:
        assert latency.judge([Latency("/a", (0.001,)), Latency("/b", (0.1,))], 0).verdict is FAILS

    def test_no_answer(self) -> None:
        assert latency.judge([Latency("/prompt", (), "HTTP 500")], None).found == "/prompt: HTTP 500"


class TestRecovery:
    PROGRAM: Mapping[str, str] = {"autorestart": "true", "command": "python -I -m comfy_supervisor.launch cpu -- main"}
    INSTANCE = Rendered("comfyui", "cpu", ("127.0.0.1:8188",), Path("/s"), Path("/r"), Path("/l"), "")
    HEALTH = Report(word="IDLE", since=0.0, cause="healthy", reason="works", at=NOW - 3)
    ROW = Status(INSTANCE, "RUNNING", pid=1, health=HEALTH)

    def verdict(self, row: Status = ROW, program: Mapping[str, str] = PROGRAM, *, wanted: bool = True) -> Verdict:
        return recovery.judge(row, program, wanted=wanted, now=NOW).verdict

    def test_who_is_watched_is_restarted(self) -> None:
        line = recovery.judge(self.ROW, self.PROGRAM, wanted=True, now=NOW)
        assert line.verdict is HOLDS
        assert "it looked 3 s ago: idle" in line.found

    def test_what_stands_in_its_way(self) -> None:
        assert self.verdict(program={**self.PROGRAM, "autorestart": "false"}) is FAILS
        assert self.verdict(program={**self.PROGRAM, "command": "python main.py"}) is FAILS
        assert self.verdict(wanted=False) is FAILS
        assert self.verdict(replace(self.ROW, watched=False)) is FAILS
        assert self.verdict(replace(self.ROW, state=HELD)) is FAILS
        assert self.verdict(replace(self.ROW, pid=0, state="STOPPED")) is FAILS
        assert self.verdict(replace(self.ROW, health=replace(self.HEALTH, maintenance=True))) is FAILS
        assert self.verdict(replace(self.ROW, health=replace(self.HEALTH, given_up=True))) is FAILS

    def test_one_that_was_just_started_is_not_judged_yet(self) -> None:
        assert self.verdict(replace(self.ROW, health=None)) is UNKNOWN


class TestLogs:
    PROGRAM: Mapping[str, str] = {"stdout_logfile_maxbytes": "1048576", "stdout_logfile_backups": "5"}
    OWN = Log(Path("/l"), 100, NOW - 5)

    def verdict(self, own: Log = OWN, *others: Log, program: Mapping[str, str] = PROGRAM) -> Verdict:
        return logs.judge(own, others, program, started=NOW - 60, now=NOW).verdict

    def test_there_written_and_rotated(self) -> None:
        assert self.verdict() is HOLDS

    def test_what_is_wrong(self) -> None:
        assert self.verdict(replace(self.OWN, written=NOW - 100)) is FAILS
        assert self.verdict(replace(self.OWN, trouble="No such file")) is FAILS
        assert self.verdict(self.OWN, Log(Path("/h"), trouble="Permission denied")) is FAILS
        assert self.verdict(program={**self.PROGRAM, "stdout_logfile_maxbytes": "0"}) is FAILS

    def test_a_file_is_looked_at(self, tmp_path: Path) -> None:
        assert logs.look(tmp_path / "none").trouble == "No such file or directory"
        (tmp_path / "log").write_text("said")
        assert logs.look(tmp_path / "log").size == 4


class TestBackend:
    REACH = Reach("http://localhost:8188", (("127.0.0.1", ""),), 400, "http://localhost:8188")
    LISTENS = ("127.0.0.1:8188",)

    def verdict(self, found: Reach = REACH, wanted: tuple[str, ...] = LISTENS) -> Verdict:
        return backend.judge(found, self.LISTENS, wanted).verdict

    def test_it_answers_and_takes_jobs(self) -> None:
        assert self.verdict() is HOLDS

    def test_what_is_wrong(self) -> None:
        assert self.verdict(replace(self.REACH, posted=403)) is FAILS
        assert self.verdict(replace(self.REACH, posted=0)) is FAILS
        assert self.verdict(replace(self.REACH, trouble="Name or service not known")) is FAILS
        assert self.verdict(replace(self.REACH, answers=(("127.0.0.1", "connection refused"),))) is FAILS
        assert self.verdict(wanted=("127.0.0.1:8189",)) is FAILS

    def test_an_address_of_the_name_that_nobody_listens_on(self) -> None:
        """Clients go on to the next address, most of them."""
        found = replace(self.REACH, answers=(("::1", "connection refused"), ("127.0.0.1", "")))
        line = backend.judge(found, self.LISTENS, self.LISTENS)
        assert line.verdict is HOLDS
        assert 'comfyui.listen = "127.0.0.1,::1"' in line.mend

    def test_a_stranger_on_the_other_address(self) -> None:
        """Clients stop at the first that answers."""
        found = replace(self.REACH, answers=(("::1", "its answer is none of ComfyUI's"), ("127.0.0.1", "")))
        assert self.verdict(found) is FAILS


class TestGeneration:
    def test_seeds_are_drawn_anew_and_nothing_else(self) -> None:
        graph: Graph = {"1": {"class_type": "K", "inputs": {"seed": 5, "noise_seed": 6, "steps": 7, "model": ["2", 0]}}}
        drawn = renewed(graph, 99)
        assert drawn["1"]["inputs"] == {"seed": 99, "noise_seed": 99, "steps": 7, "model": ["2", 0]}
        assert graph["1"]["inputs"]["seed"] == 5

    def test_a_seed_that_another_node_gives_stays(self) -> None:
        graph = {"1": {"class_type": "K", "inputs": {"seed": ["2", 0]}}}
        assert renewed(graph, 99) == graph

    def test_a_success_that_took_no_vram_says_so(self) -> None:
        assert "no VRAM: it is on the CPU" in generation.judge(Run(1.0, 2), on_cpu=True).found

    def test_the_most_of_all_samples_counts(self) -> None:
        samples = iter([(100, 1000), (700, 1000)])
        with Watch(NVML, lambda: next(samples, None)) as watch:
            pass
        assert watch.peak
        assert (watch.peak.before_mib, watch.peak.used_mib, watch.peak.total_mib) == (100, 700, 1000)

    def test_no_sample_is_no_figure(self) -> None:
        with Watch(NVML, lambda: None) as watch:
            pass
        assert watch.peak is None
