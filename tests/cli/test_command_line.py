"""The command line itself: its help, its exit codes, what it prints and where."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest

from comfy_supervisor import plan
from comfy_supervisor.cli.app import COMMANDS, SUMMARIES
from tests.cli.service import Service


class TestHelp:
    def test_it_lists_every_command_with_what_it_does(self, service: Service) -> None:
        said = service.ok("--help")
        assert said == service.ok("-h") == service.ok("help")
        for title, commands in COMMANDS.items():
            assert f"\n{title}:\n" in said
            assert all(f"{name} " in said and summary in said for name, summary in commands.items())

    @pytest.mark.parametrize("name", SUMMARIES)
    def test_each_command_has_its_own(self, name: str, service: Service) -> None:
        said = service.ok(name, "--help")
        assert said == service.ok("help", name)
        assert said.startswith(f"Usage: comfy-supervisor {name} ")
        assert SUMMARIES[name] in " ".join(said.split())

    def test_it_needs_nothing_that_takes_time_or_a_gpu(self) -> None:
        code = (
            "import sys; from comfy_supervisor.cli import main; main(['--help'])\n"
            "print(*{'torch', 'pynvml', 'requests', 'pydantic', 'jinja2', 'rich', 'supervisor', 'psutil', 'xmlrpc'}"
            " & set(sys.modules), file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr.strip() == ""

    def test_a_settings_file_that_is_wrong_keeps_nobody_from_it(self, service: Service) -> None:
        service.file.write_text("[comfyui\n")
        service.ok("render", "--help")


class TestExitCodes:
    def test_a_mistake_is_2_and_one_line(self, service: Service) -> None:
        for arguments in (["no-such-command"], ["render", "--no-such-option"], ["help", "no-such-command"]):
            assert "no-such" in service.refused(*arguments).lower()
        service.file.write_text("[comfyui\n")
        assert service.refused("render").startswith(f"error: {service.file}: not valid TOML: ")
        assert service.refused("-c", "nowhere.toml", "render").startswith("error: ")

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("statsu", "statsu: no such command; did you mean status?"),
            ("help rendr", "rendr: no such command; did you mean render?"),
            ("xyzzy", "xyzzy: no such command; comfy-supervisor --help lists them all"),
        ],
    )
    def test_an_unknown_command_is_told_the_nearest(self, words: str, said: str, service: Service) -> None:
        assert service.refused(*words.split()) == f"error: {said}\n"

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("render --no-such-option", "no such option"),
            ("logs -n -3", "invalid value for '-n' / '--lines': -3 is not in the range"),
            ("maintenance", "missing argument 'on|off'"),
            ("down now", "got unexpected extra argument (now)"),
        ],
    )
    def test_what_the_parser_refuses_is_told_as_any_other_mistake(
        self, words: str, said: str, service: Service
    ) -> None:
        told = service.refused(*words.split())
        assert told.startswith(f"error: {said}")
        assert told.endswith(f"; comfy-supervisor {words.split(maxsplit=1)[0]} --help tells more\n")
        assert told.count("\n") == 1

    def test_the_option_that_was_meant_is_asked_for_in_the_same_line(self, service: Service) -> None:
        """The version of click has its say in the quotes."""
        told = service.refused("status", "--jsn").replace("'", "").replace("option:", "option")
        assert told == "error: no such option --jsn; did you mean --json? comfy-supervisor status --help tells more\n"

    @pytest.mark.parametrize("group", ["service", "jobs", "incidents"])
    def test_each_verb_is_listed_with_its_whole_summary(self, service: Service, group: str) -> None:
        assert "..." not in service.ok(group, "--help").partition("Commands:")[2]

    def test_without_a_command_the_help_is_shown(self, service: Service) -> None:
        assert service.refused() == service.ok("--help")

    def test_a_folder_is_no_settings_file(self, service: Service) -> None:
        said = f"{service.folder}: is a folder, though {{}} names it as the settings file; did you mean {service.file}?"
        for words in (["-c", ".", "status"], ["status", "-c", str(service.folder)], ["-c", ".", "doctor"]):
            assert service.refused(*words) == f"error: {said.format('--config')}\n"
        by_variable = service.refused("render", COMFY_SUPERVISOR_CONFIG=str(service.folder))
        assert by_variable == f"error: {said.format('$COMFY_SUPERVISOR_CONFIG')}\n"
        empty = service.folder / "home"
        assert f"name the file in it, such as {empty / service.file.name}" in service.refused("-c", "home", "up")

    def test_the_settings_file_can_be_named_on_either_side(self, service: Service) -> None:
        other = service.file.rename(service.folder / "other.toml")
        assert service.ok("-c", str(other), "render", "--stdout") == service.ok(
            "render", "-c", "other.toml", "--stdout"
        )

    def test_a_bug_is_3_and_keeps_the_evidence(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_: object, **__: object) -> None:
            raise ZeroDivisionError("this one is ours")

        monkeypatch.setattr(plan, "make", broken)
        home = service.folder / "state_home"
        done = service.run("render", XDG_STATE_HOME=str(home))
        log = home / "comfy-supervisor" / "comfy-supervisor-bug.log"
        assert done.returncode == 3
        assert done.stderr == (
            "error: this is a bug of comfy-supervisor: ZeroDivisionError: this one is ours\n"
            f"The details are in {log}; please report it with them.\n"
        )
        assert "Traceback (most recent call last)" in log.read_text()
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        home.joinpath("comfy-supervisor").chmod(0o700)

    def test_a_bug_whose_log_cannot_be_written_is_printed(
        self, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(plan, "make", lambda *_, **__: 1 / 0)
        done = service.run("render", XDG_STATE_HOME="/dev/null")
        assert done.returncode == 3
        assert "Traceback (most recent call last)" in done.stderr

    def test_ctrl_c_is_130(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(plan, "make", interrupted)
        assert service.run("render").returncode == 130


class TestOutput:
    def test_nothing_is_coloured_on_a_pipe(self, up: Service) -> None:
        for words in (["status"], ["render", "--diff"], ["gpus"], ["version"], ["logs", "-n", "0"], ["no"]):
            done = up.run(*words)
            assert "\x1b" not in done.stdout + done.stderr, words

    def test_on_a_terminal_it_is(self, up: Service) -> None:
        assert "\x1b[32m" in on_terminal(up, "status")

    def test_a_logs_own_colours_are_for_terminals_only(self, service: Service) -> None:
        service.ok("render")
        (service.state / "logs" / "comfyui.log").write_text("\x1b[32mgreen\x1b[0m\n")
        assert service.ok("logs") == "green\n"
        assert "\x1b[32mgreen\x1b[0m" in on_terminal(service, "logs")

    def test_no_color_is_heeded(self, up: Service) -> None:
        assert "\x1b[3" not in on_terminal(up, "status", NO_COLOR="1")

    @pytest.mark.parametrize("words", ["status", "render --stdout", "logs", "--help", "gpus --json"])
    def test_a_reader_that_has_seen_enough_is_no_error(self, words: str, up: Service) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        command = [str(up.python), "-m", "comfy_supervisor", *words.split()]
        with os.fdopen(writing, "wb") as pipe:
            done = subprocess.run(
                command, cwd=up.folder, env=up.environ, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
            )
        assert "Traceback" not in done.stderr
        assert "BrokenPipe" not in done.stderr
        assert done.returncode == 0

    @pytest.mark.parametrize("words", ["gpus --json", "version --json"])
    def test_json_is_json_and_nothing_else(self, words: str, service: Service) -> None:
        json.loads(service.run(*words.split()).stdout)

    def test_version_names_all_that_takes_part(self, service: Service) -> None:
        versions = json.loads(service.ok("version", "--json"))
        assert list(versions) == ["comfy-supervisor", "supervisor", "python", "comfyui"]
        assert all(versions.values())
        service.settings(comfyui={"directory": "nowhere"})
        assert "comfyui           not found\n" in service.ok("version")


def on_terminal(service: Service, *words: str, **environ: str) -> str:
    """Run a command on a terminal; return what it shows."""
    reading, writing = os.openpty()
    command = [str(service.python), "-m", "comfy_supervisor", *words]
    environment = {**service.environ, "TERM": "xterm", **environ}
    subprocess.run(command, cwd=service.folder, env=environment, stdout=writing, check=True)
    shown = os.read(reading, 65536).decode()
    os.close(reading)
    os.close(writing)
    return shown
