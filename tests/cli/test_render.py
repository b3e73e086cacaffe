"""``render``: what is written, where, when, and when not."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

from comfy_supervisor import gpu, plan, rendered
from comfy_supervisor.health import watched
from tests.cli.service import Service
from tests.nvml import Card, Nvml
from tests.supervisord import Supervisord
from tests.support import make_comfyui, wait_until


def listing(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


PROGRAMS = ["program:comfyui", "eventlistener:comfyui-health"]


def sections(conf: Path) -> list[str]:
    return re.findall(r"(?m)^\[(.*)\]$", conf.read_text())


class TestFiles:
    def test_all_that_supervisord_needs_is_there_and_closed_to_others(self, service: Service) -> None:
        service.ok("render")
        names = ("", "logs", "cpu", "run", "run/cpu")
        assert {name: (service.state / name).stat().st_mode & 0o777 for name in names} == dict.fromkeys(names, 0o700)
        files = ("supervisord.conf", "instances.json", "health.json")
        assert {name: (service.state / name).stat().st_mode & 0o777 for name in files} == dict.fromkeys(files, 0o600)

    def test_what_comfyuis_account_reads_is_open_to_it(self, service: Service) -> None:
        service.ok("render")
        assert (service.state / "extension.yaml").stat().st_mode & 0o777 == 0o644

    def test_a_folder_that_was_open_to_others_is_closed(self, service: Service) -> None:
        service.state.mkdir(mode=0o755)
        service.ok("render")
        assert service.state.stat().st_mode & 0o777 == 0o700

    def test_a_file_that_was_opened_to_others_is_closed(self, service: Service) -> None:
        service.ok("render")
        service.conf.chmod(0o644)
        done = service.run("render", "--check", "--diff")
        assert (done.returncode, done.stdout) == (1, f"{service.conf}: mode 644 → 600\nwould change: {service.conf}\n")
        assert f"wrote {service.conf}" in service.ok("render")
        assert service.conf.stat().st_mode & 0o777 == 0o600

    def test_the_same_again_changes_not_a_byte_and_not_a_file(self, service: Service) -> None:
        assert "wrote" in service.ok("render")
        before, time = listing(service.state), service.conf.stat().st_mtime_ns
        assert service.ok("render") == f"unchanged: {service.conf}\n"
        assert (listing(service.state), service.conf.stat().st_mtime_ns) == (before, time)

    def test_stdout_prints_what_would_be_written_and_writes_nothing(self, service: Service) -> None:
        printed = service.ok("render", "--stdout")
        assert not service.state.exists()
        service.ok("render")
        assert printed == service.conf.read_text()

    def test_output_goes_to_the_folder_that_is_named(self, service: Service) -> None:
        service.ok("render", "-o", "new/etc")
        assert sections(service.folder / "new" / "etc" / "supervisord.conf")[-2:] == PROGRAMS
        assert not service.conf.exists()

    @pytest.mark.parametrize("words", [["render", "-o"], ["service", "install", "--into"]])
    def test_a_home_that_there_is_not_is_refused_before_anything_is_made(
        self, words: list[str], service: Service
    ) -> None:
        said = service.refused(*words, "~nobodyxyz/x")
        assert said.splitlines()[-1] == (
            f'error: {words[-1].replace("-o", "--output")}: "~nobodyxyz/x": no home folder is known for ~nobodyxyz; '
            "write the path in full"
        )
        assert not service.state.exists()

    @pytest.mark.parametrize("also", ["--check", "--output=x", "--diff"])
    def test_stdout_goes_with_nothing_that_is_about_files(self, also: str, service: Service) -> None:
        assert "--stdout writes nothing" in service.refused("render", "--stdout", also)

    def test_a_damaged_configuration_is_replaced(self, service: Service) -> None:
        service.ok("render")
        good = service.conf.read_text()
        for damage in (b"\xff\xfe\x00[[", b"file=before any section\n", b"[unix_http_server\n", b"", b"[a]\nb\n"):
            service.conf.write_bytes(damage)
            assert f"{service.conf}: " in service.refused("status")
            service.ok("render")
            assert service.conf.read_text() == good

    def test_damaged_memory_is_the_users_to_restore(self, service: Service) -> None:
        service.state.mkdir()
        memory = service.state / "instances.json"
        memory.write_text('{"v": 1, "records": [')
        assert f"{memory}: damaged" in service.refused("render")
        assert memory.read_text() == '{"v": 1, "records": ['

    def test_everybodys_folder_is_refused(self, service: Service) -> None:
        everybodys = service.folder / "everybodys"
        everybodys.mkdir()
        everybodys.chmod(0o1777)
        service.settings(paths={"state": str(everybodys)})
        assert f"{everybodys}: is everybody's" in service.refused("render")
        assert everybodys.stat().st_mode & 0o7777 == 0o1777
        assert not listing(everybodys)


class TestCheck:
    def test_it_answers_by_its_exit_code_and_writes_nothing(self, service: Service) -> None:
        done = service.run("render", "--check")
        assert done.returncode == 1
        assert f"would change: {service.conf}" in done.stdout
        assert not service.state.exists()
        service.ok("render")
        assert service.ok("render", "--check") == ""
        service.settings(comfyui={"cors_origin": "https://example.org"})
        before = listing(service.state)
        assert service.run("render", "--check").stdout == f"would change: {service.conf}\n"
        assert listing(service.state) == before

    def test_diff_shows_what_changes(self, service: Service) -> None:
        service.ok("render")
        service.settings(restart={"stop_seconds": 33})
        done = service.run("render", "--check", "--diff")
        assert done.returncode == 1
        assert "\n-stopwaitsecs=10\n+stopwaitsecs=33\n" in done.stdout
        assert "stopwaitsecs=10" in service.conf.read_text()
        assert "+stopwaitsecs=33\n" in service.ok("render", "--diff")
        assert "stopwaitsecs=33" in service.conf.read_text()
        assert service.ok("render", "--check", "--diff") == ""


class TestRefusals:
    """Whatever is refused leaves the files as they were."""

    @pytest.mark.parametrize(
        ("comfyui", "text"),
        [
            ({"extra_args": ["--no-such-option"]}, "--no-such-option"),
            ({"extra_args": ["--port", "1"]}, "set comfyui.port instead"),
            ({"environment": {"X": "a ;b"}}, "comfyui.environment.X: its value, which isn't shown, has white space"),
            ({"environment": {"X": 'a"b'}}, "comfyui.environment.X: its value, which isn't shown, has a \""),
            ({"directory": "nowhere"}, 'comfyui.directory = "'),
            ({"directory": "ComfyUI", "python": "/no/python"}, "/no/python"),
        ],
    )
    def test_the_old_files_stay(self, comfyui: dict[str, object], text: str, service: Service) -> None:
        make_comfyui(service.folder / "ComfyUI")
        service.ok("render")
        before = listing(service.state)
        service.settings(comfyui=comfyui)
        assert text in service.refused("render")
        assert listing(service.state) == before

    def test_every_wrong_key_is_named_at_once(self, service: Service) -> None:
        service.settings(comfyui={"prot": 1, "listen": "nowhere"}, logs={"backups": -1})
        said = service.refused("render")
        assert [key in said for key in ("comfyui.prot", "comfyui.port", "comfyui.listen", "logs.backups")] == [True] * 4
        assert said.count("error: ") == 3
        assert not service.state.exists()


class TestSupervisorctl:
    def test_it_finds_the_configuration_without_any_option(self, service: Service) -> None:
        service.ok("render")
        link = service.folder / "venv" / "etc" / "supervisord.conf"
        assert link.readlink() == service.conf
        assert f"unix://{service.state}/run/supervisor.sock no such file" in service.supervisorctl("status").stdout

    def test_a_file_of_somebody_elses_stays(self, service: Service) -> None:
        file = service.folder / "venv" / "etc" / "supervisord.conf"
        file.parent.mkdir()
        file.write_text("mine")
        service.ok("render")
        assert file.read_text() == "mine"

    def test_a_link_that_leads_nowhere_is_replaced(self, service: Service) -> None:
        link = service.folder / "venv" / "etc" / "supervisord.conf"
        link.parent.mkdir()
        link.symlink_to("nowhere")
        service.ok("render")
        assert link.readlink() == service.conf

    def test_a_configuration_for_elsewhere_gets_no_link(self, service: Service) -> None:
        service.ok("render", "-o", "elsewhere")
        assert not (service.folder / "venv" / "etc").exists()


class TestHealth:
    """What the health listener is told."""

    @pytest.mark.parametrize(("extra", "meant"), [("", True), ("--cpu", False)])
    def test_whoever_asks_for_the_cpu_is_not_held_back_for_want_of_a_gpu(
        self, extra: str, meant: bool, gpu_service: Service, nvml: Nvml
    ) -> None:
        nvml.cards([Card()])
        gpu_service.settings(comfyui={"extra_args": extra}, gpu={"devices": "auto"})
        gpu_service.ok("render")
        (one,) = watched.read(gpu_service.state / "health.json")
        assert one.rules.gpu_meant is meant

    def test_it_is_told_of_the_jobs(self, service: Service) -> None:
        service.settings(jobs={"replay": "crash", "max_age": 60, "history": 7})
        service.ok("render")
        (one,) = watched.read(service.state / "health.json")
        assert (one.extension, one.replay, one.max_age, one.history) == (True, "crash", 60.0, 7)

    def test_without_it_there_is_none(self, service: Service) -> None:
        service.settings(health={"watch": False})
        service.ok("render")
        assert sections(service.conf)[-1] == "program:comfyui"
        assert not (service.state / "health.json").exists()


class TestExtension:
    """ComfyUI is told where comfy-supervisor's extension lies."""

    def given(self, service: Service) -> list[str]:
        """Return the arguments of ComfyUI's command, as supervisord reads them, from those about custom nodes on."""
        (one,) = rendered.read(service.conf).instances
        return list(one.command[one.command.index("--dont-print-server") + 1 :])

    def test_supervisord_reads_the_file_that_names_its_folder(self, service: Service) -> None:
        """A path with all that supervisord would read otherwise goes through."""
        service.settings(paths={"state": str(service.folder / "per cent %(x)s")})
        service.ok("render")
        file = service.folder / "per cent %(x)s" / "extension.yaml"
        (one,) = rendered.read(file.with_name("supervisord.conf")).instances
        assert one.command[-2:] == ("--extra-model-paths-config", str(file))
        folder = Path(json.loads(file.read_text())["comfy_supervisor"]["custom_nodes"])
        assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {"comfy_supervisor_bridge"}

    def test_theirs_stand_beside_it(self, service: Service) -> None:
        (service.folder / "a.yaml").write_text("{}")
        theirs = f"--extra-model-paths-config {service.folder}/a.yaml --disable-all-custom-nodes"
        service.settings(comfyui={"extra_args": f"{theirs} --whitelist-custom-nodes a"})
        service.ok("render")
        ours = f"--extra-model-paths-config {service.state}/extension.yaml"
        all_of_them = f"{ours} {theirs} --whitelist-custom-nodes a comfy_supervisor_bridge"
        assert self.given(service) == all_of_them.split()

    def test_a_setting_leaves_it_out(self, service: Service) -> None:
        service.settings(jobs={"extension": False})
        service.ok("render")
        assert self.given(service) == []
        assert not (service.state / "extension.yaml").exists()
        (one,) = watched.read(service.state / "health.json")
        assert not one.extension

    def test_that_it_moved_is_a_change(self, service: Service) -> None:
        service.ok("render")
        file = service.state / "extension.yaml"
        right = file.read_text()
        file.write_text("elsewhere")
        done = service.run("render", "--check", "--diff")
        assert done.returncode == 1
        assert f"would change: {file}\n" in done.stdout
        assert "\n-elsewhere" in done.stdout
        service.ok("render")
        assert file.read_text() == right

    @pytest.mark.parametrize("name", ["a\nb", "a\x7fb", "a\udcffb", "a\u2028b"])
    def test_a_folder_that_yaml_or_comfyui_would_read_otherwise_is_refused(
        self, name: str, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(plan, "EXTENSION", Path(f"/{name}/extension"))
        assert "set jobs.extension = false" in service.refused("render")
        assert not service.conf.exists()


class TestFragment:
    def test_another_supervisord_runs_it(self, service: Service, supervisord: Supervisord) -> None:
        conf_d = supervisord.folder / "conf.d"
        service.ok("render", "--fragment", "-o", str(conf_d))
        assert sections(conf_d / "comfyui.conf") == PROGRAMS
        supervisord.start(f"[include]\nfiles = {conf_d}/*.conf\n")
        wait_until(lambda: supervisord.rpc.state() == "RUNNING" and service.answers(), what=service.log())
        assert supervisord.info().statename == "RUNNING"
        assert supervisord.rpc.stop("comfyui") is True

    def test_of_several_it_has_their_group(self, gpu_service: Service, nvml: Nvml) -> None:
        nvml.cards([Card(), Card()])
        gpu_service.settings(gpu={"devices": "all"})
        gpu_service.ok("render", "--fragment", "-o", "conf.d")
        found = sections(gpu_service.folder / "conf.d" / "comfyui.conf")
        assert found == ["group:comfyui", "program:gpu0", "program:gpu1", "eventlistener:comfyui-health"]


class TestAnotherMachine:
    def test_a_release_that_is_not_here(self, service: Service) -> None:
        comfyui = {"directory": "/srv/ComfyUI", "python": "/srv/venv/bin/python"}
        service.settings(comfyui={**comfyui, "version": "0.3.10"})
        text = service.ok("render", "--stdout")
        assert "-- /srv/venv/bin/python /srv/ComfyUI/main.py --listen 127.0.0.1" in text
        assert 'COMFY_SUPERVISOR_DIRECTORY="/srv/ComfyUI"' in text

    def test_it_has_to_be_said_where_it_lies(self, service: Service) -> None:
        service.settings(comfyui={"directory": "/srv/ComfyUI", "version": "0.3.10"})
        assert 'comfyui.version = "0.3.10"' in service.refused("render", "--stdout")

    def test_what_a_release_does_not_know_is_left_out_and_said(self, gpu_service: Service, nvml: Nvml) -> None:
        nvml.cards(["NVIDIA GeForce RTX 4070", "NVIDIA GeForce RTX 4070"])
        comfyui = {"directory": "/srv/ComfyUI", "python": "/srv/python", "version": "0.3.10"}
        gpu_service.settings(gpu={"devices": "all"}, comfyui=comfyui)
        old = gpu_service.ok("render", "--stdout")
        gpu_service.settings(gpu={"devices": "all"}, comfyui={**comfyui, "version": "0.33.0"})
        new = gpu_service.ok("render", "--stdout")
        given = [" ".join(re.findall("(?m)^command=.*", text)) for text in (old, new)]
        assert [" --database-url " in commands for commands in given] == [False, True]
        assert "not --database-url" in old
        assert [" --normalvram " in commands for commands in given] == [True, False]
        assert "not --normalvram" in new


class TestGpus:
    def test_eight_have_nothing_of_their_own_in_common(self, gpu_service: Service, nvml: Nvml) -> None:
        nvml.cards([Card()] * 8)
        gpu_service.settings(gpu={"devices": "all"})
        text = gpu_service.ok("render", "--stdout")
        for option in (
            "--port (\\d+)",
            "--cuda-device (\\d)",
            "--output-directory (\\S+)",
            "--temp-directory (\\S+)",
            "--user-directory (\\S+)",
            "--database-url (\\S+)",
            'COMFY_SUPERVISOR_STATE="([^"]+)',
            'COMFY_SUPERVISOR_RUN="([^"]+)',
            'COMFY_SUPERVISOR_ADDRESS="([^"]+)',
            'CUDA_VISIBLE_DEVICES="(\\d)',
            "stdout_logfile=(/.*)",
        ):
            values = re.findall(option, "\n".join(line for line in text.splitlines() if line[:1] != ";"))
            assert len(set(values)) == len(values) == 8, option
        assert "[group:comfyui]\nprograms=gpu0,gpu1,gpu2,gpu3,gpu4,gpu5,gpu6,gpu7\n" in text

    def test_a_lost_one_is_left_out_and_named_and_moves_nobody(self, gpu_service: Service, nvml: Nvml) -> None:
        nvml.cards([Card()] * 8)
        gpu_service.settings(gpu={"devices": "all"})
        gpu_service.ok("render")
        before = commands(gpu_service.conf)
        nvml.fail("GPU_IS_LOST", "nvmlDeviceGetMemoryInfo", 3)
        nvml.fail("GPU_IS_LOST", "nvmlDeviceGetMemoryInfo_v2", 3)
        gpu_service.ok("render")
        lost = before.pop("gpu3")
        assert commands(gpu_service.conf) == before
        assert "; GPU 3: NVIDIA GeForce RTX 4090" in gpu_service.conf.read_text()
        assert lost not in gpu_service.conf.read_text()

    def test_a_swapped_card_takes_the_place_of_the_old_one(self, gpu_service: Service, nvml: Nvml) -> None:
        cards = [Card(uuid=f"GPU-{number}") for number in range(3)]
        nvml.cards(cards)
        gpu_service.settings(gpu={"devices": "all"})
        gpu_service.ok("render")
        before = commands(gpu_service.conf)
        nvml.cards([cards[0], Card(uuid="GPU-new"), cards[2]])
        gpu_service.ok("render")
        assert commands(gpu_service.conf) == before
        assert "GPU-new: comfyui:gpu1" in gpu_service.conf.read_text()

    def test_an_added_card_moves_nobody(self, gpu_service: Service, nvml: Nvml) -> None:
        cards = [Card(uuid=f"GPU-{number}", pci=f"00000000:{number + 2:02X}:00.0") for number in range(2)]
        nvml.cards(cards)
        gpu_service.settings(gpu={"devices": "all"})
        gpu_service.ok("render")
        before = commands(gpu_service.conf)
        nvml.cards([Card(uuid="GPU-new", pci="00000000:01:00.0"), *cards])
        gpu_service.ok("render")
        after = commands(gpu_service.conf)
        assert sorted(after) == ["gpu0", "gpu1", "gpu2"]
        assert f"--port {gpu_service.port + 2} " in after["gpu2"]
        assert "--cuda-device 0 " in after["gpu2"]
        for index, name in enumerate(before):
            assert after[name] == before[name].replace(f"--cuda-device {index} ", f"--cuda-device {index + 1} ")


def commands(conf: Path) -> dict[str, str]:
    """Return each program's command."""
    found = re.findall(r"(?m)^\[program:(.*)\]\ncommand=(.*)$", conf.read_text())
    return dict(found)


class TestDriver:
    """GPUs that are meant and can't be used: never the CPU by accident, and the old file stays."""

    def trouble(self, service: Service) -> str:
        before = listing(service.state) if service.state.exists() else {}
        said = service.refused("render")
        assert 'gpu.devices = "cpu"' in said
        assert (listing(service.state) if service.state.exists() else {}) == before
        return said

    @pytest.fixture
    def good(self, gpu_service: Service, nvml: Nvml) -> Service:
        """Give a service that was rendered while all was well."""
        nvml.cards([Card()])
        gpu_service.ok("render")
        return gpu_service

    def test_missing(self, good: Service, nvml: Nvml) -> None:
        nvml.uninstall()
        assert "libnvidia-ml.so.1" in self.trouble(good)

    def test_of_another_version_than_the_library(self, good: Service, nvml: Nvml) -> None:
        nvml.fail("LIB_RM_VERSION_MISMATCH")
        assert "reboot" in self.trouble(good)

    def test_not_loaded(self, good: Service, nvml: Nvml) -> None:
        nvml.fail("DRIVER_NOT_LOADED")
        assert "kernel module" in self.trouble(good)

    def test_hanging(self, good: Service, nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpu, "detect", partial(gpu.detect, deadline=0.5))
        nvml.hang()
        assert "0.5 s" in self.trouble(good)

    def test_hardware_that_never_had_a_driver(self, gpu_service: Service, nvml: Nvml) -> None:
        nvml.hardware("00000000:01:00.0")
        assert "libnvidia-ml.so.1" in self.trouble(gpu_service)

    def test_a_card_that_has_left_the_bus(self, good: Service, nvml: Nvml) -> None:
        nvml.uninstall()
        nvml.hardware()
        assert "no NVIDIA GPU is on the PCI bus any more" in self.trouble(good)

    def test_a_gpu_of_windows_without_a_driver(
        self, gpu_service: Service, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(gpu, "detect", partial(gpu.detect, root=tmp_path))
        (tmp_path / "dev").mkdir()
        (tmp_path / "dev" / "dxg").touch()
        assert "this is WSL 2" in self.trouble(gpu_service)

    def test_no_hardware_at_all_is_a_machine_for_the_cpu(self, gpu_service: Service) -> None:
        assert " --cpu " in gpu_service.ok("render", "--stdout")

    def test_the_cpu_when_it_is_asked_for(self, good: Service, nvml: Nvml) -> None:
        nvml.hang()
        good.settings(gpu={"devices": "cpu"})
        assert " --cpu " in good.ok("render", "--stdout")


def test_a_file_is_replaced_in_one_step_and_no_other_is_left(service: Service) -> None:
    service.ok("render")
    before = service.conf.read_text()
    with service.conf.open() as old:
        service.settings(comfyui={"cors_origin": "https://example.org"})
        service.ok("render")
        assert old.read() == before
    assert service.conf.read_text() != before
    files = ["extension.yaml", "health.json", "instances.json", "lock", "supervisord.conf"]
    assert sorted(listing(service.state)) == files
