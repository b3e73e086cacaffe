"""Reading the installed ComfyUI's own argument parser, and proving command lines with it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from comfy_supervisor.comfyui.find import find
from comfy_supervisor.comfyui.parser import prove, read
from comfy_supervisor.errors import UserError
from comfy_supervisor.model import Installation, Option
from tests.support import CLI_ARGS, answering, make_comfyui, make_program, needs_comfyui


def installation(folder: Path, cli_args: str = CLI_ARGS, python: str = sys.executable) -> Installation:
    return Installation(make_comfyui(folder / "ComfyUI", cli_args), Path(python), "0.3.64")


def problem(comfyui: Installation, deadline: float = 60.0) -> str:
    """Return the one line that reading and proving both say."""
    with pytest.raises(UserError) as caught:
        read(comfyui, deadline=deadline)
    with pytest.raises(UserError) as caught_too:
        prove(comfyui, [["--cpu"]], deadline=deadline)
    assert caught.value.problems == caught_too.value.problems
    (line,) = caught.value.problems
    assert "\n" not in line
    return line


def test_options_are_described_as_argparse_has_them(tmp_path: Path) -> None:
    comfyui = installation(tmp_path)
    found = read(comfyui)
    assert dict(found.options) == {
        "--help": Option("--help", 0, None, (), "_HelpAction"),
        "--port": Option("--port", None, "int"),
        "--listen": Option("--listen", "?"),
        "--speed": Option("--speed", None, "Speed", ("slow", "quick")),
        "--folder": Option("--folder", None, "existing_folder"),
        "--level": Option("--level", None, None, ("low", "high")),
        "--cpu": Option("--cpu", 0, None, (), "_StoreTrueAction"),
        "--gpu-only": Option("--gpu-only", 0, None, (), "_StoreTrueAction"),
    }
    assert found.exclusive == (("--cpu", "--gpu-only"),)
    assert (found.version, found.source) == ("0.3.64", str(comfyui.directory / "comfy" / "cli_args.py"))


@pytest.mark.parametrize(
    ("argv", "refusal"),
    [
        ([], ""),
        (["--port", "8190", "--cpu", "--speed", "quick", "--listen"], ""),
        (["--folder", "/not/made/yet"], ""),
        (["--listen", "a b ☃"], ""),
        (["--normalvram"], "unrecognized arguments: --normalvram"),
        (["--cpu", "--gpu-only"], "argument --gpu-only: not allowed with argument --cpu"),
        (["--port", "high"], "argument --port: invalid int value: 'high'"),
        (["--port", "13"], "not that port"),
        (["--listen", "a", "b\nc"], "unrecognized arguments: b c"),
        (["--help"], "ends at once with exit status 0"),
    ],
)
def test_proof_is_argparses_own_word(tmp_path: Path, argv: list[str], refusal: str) -> None:
    assert prove(installation(tmp_path), [argv]) == (refusal,)


def test_each_command_line_is_proved_by_itself(tmp_path: Path) -> None:
    argvs = [["--cpu"], ["--nope"], ["--gpu-only"], ["--port", "13"], []]
    assert [bool(refusal) for refusal in prove(installation(tmp_path), argvs)] == [False, True, False, True, False]


def test_folder_with_spaces_and_signs(tmp_path: Path) -> None:
    assert "--cpu" in read(installation(tmp_path / "Com fy' \"Ü ☃"))


def test_nothing_else_of_comfyui_is_executed(tmp_path: Path) -> None:
    """Neither its package nor its modules run, and no cache is left in its folder."""
    comfyui = installation(tmp_path, "import colorsys\n" + CLI_ARGS)
    for module in ("comfy/__init__.py", "torch.py", "nodes.py", "colorsys.py"):
        (comfyui.directory / module).write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    before = sorted(comfyui.directory.rglob("*"))
    assert "--cpu" in read(comfyui)
    assert prove(comfyui, [["--cpu"]]) == ("",)
    assert sorted(comfyui.directory.rglob("*")) == before
    assert not (tmp_path / "executed").exists()


def test_torch_is_not_imported(tmp_path: Path) -> None:
    comfyui = installation(tmp_path, "import torch\n" + CLI_ARGS)
    (comfyui.directory / "torch.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    assert "import of torch halted" in problem(comfyui)
    assert not (tmp_path / "executed").exists()


def test_variables_for_python_do_not_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "argparse.py").write_text("raise SystemExit('not this one')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "--cpu" in read(installation(tmp_path))


def test_printing_does_not_disturb_the_answer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """More than a pipe holds, on both streams, before and after; and none of it reaches ours."""
    noise = "import os, sys\nprint('x' * 300_000)\nprint('y' * 300_000, file=sys.stderr)\nos.write(1, b'{}')\n"
    comfyui = installation(tmp_path, noise + CLI_ARGS + noise)
    assert "--cpu" in read(comfyui)
    assert prove(comfyui, [["--cpu"], ["--nope"]]) == ("", "unrecognized arguments: --nope")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("cli_args", "text"),
    [
        (
            "import no_such_module\n",
            "(ModuleNotFoundError: No module named 'no_such_module'); install its requirements",
        ),
        ("def\n", "(SyntaxError: invalid syntax (cli_args.py, line 1)); repair or update that ComfyUI"),
        ("raise SystemExit('please install me')\n", "(SystemExit: please install me); repair"),
        ("import sys\nsys.exit()\n", "(SystemExit); repair"),
        ("raise RuntimeError('one\\ntwo')\n", "(RuntimeError: one two); repair"),
        ("x = 1\n", "(it does not parse a command line); repair"),
    ],
)
def test_file_that_cannot_be_executed(tmp_path: Path, cli_args: str, text: str) -> None:
    comfyui = installation(tmp_path, cli_args)
    line = problem(comfyui)
    assert line.startswith(f'comfyui.directory = "{comfyui.directory}": comfy/cli_args.py cannot be executed')
    assert text in line


def test_file_that_never_ends(tmp_path: Path) -> None:
    comfyui = installation(tmp_path, "import time\nwhile True: time.sleep(1)\n")
    assert problem(comfyui, 0.5).startswith(f'comfyui.python = "{sys.executable}": gave no answer within 0.5 s; ')


def test_file_that_ends_its_interpreter(tmp_path: Path) -> None:
    assert "ended without an answer (exit status 7)" in problem(installation(tmp_path, "import os\nos._exit(7)\n"))


def test_interpreter_that_is_too_old(tmp_path: Path) -> None:
    """One of Python 3.9's age, but for its age our own."""
    program = (
        "import runpy, sys; sys.version_info = (3, 9, 18); sys.argv = sys.argv[3:];"
        " runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    python = make_program(tmp_path / "python", f'exec {shlex.quote(sys.executable)} -c "{program}" "$@"')
    comfyui = installation(tmp_path, python=str(python))
    assert problem(comfyui) == (
        f'comfyui.python = "{python}": is Python 3.9, too old for ComfyUI;'
        " set it to the Python 3.10 or later that runs ComfyUI"
    )


def test_interpreter_that_lacks_a_module_is_replaced_by_ours(tmp_path: Path) -> None:
    """The options are the same in every interpreter; the source says which one read them."""
    bare = make_program(tmp_path / "python", f'exec {shlex.quote(sys.executable)} -S "$@"')
    comfyui = installation(tmp_path, "import hypothesis\n" + CLI_ARGS, python=str(bare))
    found = read(comfyui)
    assert "--cpu" in found
    assert found.source.endswith(
        f"read by {sys.executable} ({bare}: ModuleNotFoundError: No module named 'hypothesis')"
    )
    assert prove(comfyui, [["--nope"]]) == ("unrecognized arguments: --nope",)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo rubbish; echo not a Python >&2; exit 3", "not a Python"),
        ("exit 3", "ended without an answer (exit status 3)"),
    ],
)
def test_interpreter_that_is_none(tmp_path: Path, script: str, text: str) -> None:
    python = make_program(tmp_path / "python", script)
    line = problem(installation(tmp_path, python=str(python)))
    assert line == f'comfyui.python = "{python}": {text}; set it to the Python 3.10 or later that runs ComfyUI'


OTHER = "answered with something other than what was asked for"
CPU = '{"name": "--cpu", "nargs": 0, "type": null, "choices": [], "action": "_StoreTrueAction"}'


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("rubbish", f"{OTHER} (Expecting value: line 1 column 1 (char 0))"),
        ("[]", f"{OTHER} (_Answer: not an object)"),
        ("{}", "answered with less than what was asked for"),
        ('{"options": {"--cpu": {}}}', f"{OTHER} (options: not a list)"),
        ('{"options": [{"nargs": 1}]}', f"{OTHER} (options.0.name: missing)"),
        ('{"options": [{"name": "--a", "choices": 7}]}', f"{OTHER} (options.0.choices: not a list)"),
        (f'{{"options": [{CPU}], "exclusive": [7]}}', f"{OTHER} (exclusive.0: not a list)"),
        ('{"failure": 7, "kind": "import"}', f"{OTHER} (failure: not a text)"),
    ],
)
def test_interpreter_that_answers_something_else(tmp_path: Path, answer: str, text: str) -> None:
    python = answering(tmp_path / "python", answer)
    line = problem(installation(tmp_path, python=str(python)))
    assert line == f'comfyui.python = "{python}": {text}; set it to the Python 3.10 or later that runs ComfyUI'


def test_a_command_line_of_which_nothing_is_said_is_not_proved(tmp_path: Path) -> None:
    comfyui = installation(tmp_path, python=str(answering(tmp_path / "python", f'{{"options": [{CPU}]}}')))
    assert "--cpu" in read(comfyui)
    with pytest.raises(UserError, match="answered with less than what was asked for"):
        prove(comfyui, [["--cpu"]])


@needs_comfyui
def test_real_comfyui_is_read_by_its_own_interpreter() -> None:
    comfyui = find()
    found = read(comfyui)
    assert found.source == str(comfyui.directory / "comfy" / "cli_args.py")
    assert {"--port", "--listen", "--cpu", "--cuda-device", "--output-directory"} <= set(found.options)
    assert any({"--gpu-only", "--lowvram", "--cpu"} <= set(group) for group in found.exclusive)


@needs_comfyui
def test_real_comfyui_proves_command_lines() -> None:
    argvs = [["--cpu", "--port", "8190"], ["--cpu", "--gpu-only"], ["--user-directory", "/none"], ["--nope"]]
    assert prove(find(), argvs) == (
        "",
        "argument --gpu-only: not allowed with argument --cpu",
        "",
        "unrecognized arguments: --nope",
    )


@needs_comfyui
def test_real_comfyui_is_left_as_it_was() -> None:
    comfy = Path(os.environ["COMFYUI_DIR"]) / "comfy"
    before = sorted(comfy.iterdir())
    read(find())
    assert sorted(comfy.iterdir()) == before
