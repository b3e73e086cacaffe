"""Whatever a value holds: supervisord reads back exactly it, or it is refused; never a section more."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from comfy_supervisor.errors import UserError
from comfy_supervisor.model import Program
from comfy_supervisor.paths import Paths
from comfy_supervisor.render import Configuration, prove, quote, reader, text

EVIL = "x\n[program:evil]\ncommand=/bin/sh"
AWKWARD = [
    "%",
    "%%",
    "%(here)s",
    "%(ENV_HOME)s",
    ";",
    "#",
    " ;",
    " #",
    "'",
    '"',
    "\\",
    "\\\\",
    ",",
    "=",
    " ",
    "é",
    "日本",
    "\u3000",
]
words = st.lists(st.one_of(st.sampled_from(AWKWARD), st.text(max_size=4)), max_size=6).map("".join)
names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
folders = words.map(lambda word: Path("/") / word.replace("/", "").replace("\0", "").replace("..", "") / "x")


def program(**changes: object) -> Program:
    plain = Program(
        name="comfyui",
        command=("/python", "main.py"),
        environment={"A": "b"},
        directory=Path("/comfy"),
        log=Path("/logs/comfyui.log"),
        options={"startsecs": "0"},
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def configuration(*programs: Program, **changes: object) -> Configuration:
    plain = Configuration(programs or (program(),), Paths(Path("/state"), Path("/run/x"), Path("/logs")))
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


def refusal(made: Configuration) -> str:
    """Return why a configuration is refused; empty if it is proved."""
    try:
        prove(made)
    except UserError as error:
        return str(error)
    return ""


def read_back(made: Configuration, scratch: Path) -> dict[str, reader.Meaning]:
    """Return what supervisord itself reads, with the paths as they are."""
    file = scratch / "read.conf"
    file.write_text(text(made), encoding="utf-8")
    return dict(reader.programs(reader.options(file)))


@given(words)
@example(EVIL)
@example("a ;b")
@example("%(here)s")
def test_an_argument_comes_through_or_is_refused(word: str) -> None:
    """Refused by the quoting, not only found out by the proof; and only what can't be said."""
    found = refusal(configuration(program(command=("/python", word, "last"))))
    assert "supervisord would" not in found
    assert bool(found) == (not word.isprintable() or "%(here)s" in word)


@given(st.dictionaries(names, words, max_size=3))
@example({"A": "a ;b"})
@example({"A": EVIL})
@example({"A": "'a'"})
@example({"A": "a\\"})
def test_a_variable_comes_through_or_is_refused_by_name(variables: dict[str, str]) -> None:
    found = refusal(configuration(program(environment=variables)))
    assert not found or any(found.startswith(f"comfyui.environment.{name}: its value, which") for name in variables)


@given(folders, folders, folders)
def test_folders_come_through_or_are_refused(directory: Path, logs: Path, run: Path) -> None:
    made = configuration(program(directory=directory, log=logs / "x.log"), paths=Paths(Path("/state"), run, logs))
    assert refusal(made).split(" = ")[0] in ("", "comfyui.directory", "paths.logs", "paths.run")


@pytest.mark.parametrize("fragment", [False, True])
@pytest.mark.parametrize("value", ["100 % é, 'quoted' = (x)#1", "a;b", "%(ENV_HOME)s", "%%"])
def test_what_can_be_said_is_said(value: str, fragment: bool) -> None:
    """Not only refused or equal: these values do come through, in a whole file and in a fragment."""
    log = Path("/logs") / value / "comfyui.log"
    made = program(command=("/python", value), environment={"A": f"<{value}>"}, directory=Path("/") / value, log=log)
    prove(configuration(made, fragment=fragment))


def test_the_value_is_read_back_by_the_programs_that_use_it(tmp_path: Path) -> None:
    """The same without the proof's own machinery: a file, supervisord's reader, and the values."""
    made = program(
        command=("/py", "a ;b", "100%", "it's", ""),
        environment={"A": "x, ;y".replace(" ;", ";")},
        log=tmp_path / "100%.log",
    )
    found = read_back(configuration(made, paths=Paths(tmp_path, tmp_path, tmp_path)), tmp_path)["comfyui"]
    assert found.argv == ("/py", "a ;b", "100%", "it's", "")
    assert found.environment == {"A": "x,;y"}
    assert found.log == str(tmp_path / "100%.log")


def test_several_instances_are_one_group() -> None:
    several = [program(name=f"gpu{n}", group="comfyui", log=Path(f"/logs/gpu{n}.log")) for n in range(3)]
    made = configuration(*several)
    prove(made)
    assert "[group:comfyui]\nprograms=gpu0,gpu1,gpu2\n" in text(made)


def test_an_event_listener_is_a_section_of_its_own() -> None:
    """It has no folded stderr, which supervisord refuses for listeners."""
    listener = program(
        name="comfyui-health", kind="eventlistener", options={"events": "TICK_5"}, log=Path("/logs/health.log")
    )
    made = configuration(program(), listener)
    prove(made)
    assert "[eventlistener:comfyui-health]" in text(made)


def test_a_fragment_holds_nothing_but_programs(tmp_path: Path) -> None:
    file = tmp_path / "fragment.conf"
    file.write_text(text(configuration(fragment=True)))
    assert list(reader.sections(file)) == ["program:comfyui"]


def test_a_comment_stays_one_line() -> None:
    made = configuration(program(comments=(f"GPU {EVIL}",)), header=(EVIL,))
    prove(made)
    assert "\n[program:evil]" not in text(made)


class TestTheProofItself:
    """It finds what the quoting lets through: each test takes one rule of the quoting away."""

    @pytest.mark.parametrize("value", ["a ;b", "a\nb=c", EVIL])
    def test_an_environment_that_reads_otherwise(self, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(quote, "_variable", lambda text, _: text)
        with pytest.raises(UserError, match=r"supervisord (would|refuses)"):
            prove(configuration(program(environment={"A": value})))

    def test_the_values_of_variables_are_not_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for why in ("its value, which isn't shown, has", "other values in the environment"):
            with pytest.raises(UserError, match=why) as caught:
                prove(configuration(program(environment={"A": "secret ;b"})))
            assert "secret" not in str(caught.value)
            monkeypatch.setattr(quote, "_variable", lambda *_: "changed secret")

    @pytest.mark.parametrize("value", ["%(nothing)s", "50%", EVIL])
    def test_a_command_that_reads_otherwise(self, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(quote, "_argument", lambda text, _: text)
        with pytest.raises(UserError, match=r"supervisord (would|refuses)"):
            prove(configuration(program(command=("/python", value))))

    def test_a_log_that_is_expanded_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """supervisord expands stdout_logfile two times, all else once."""
        monkeypatch.setattr(quote, "value", lambda text, *_: text.replace("%", "%%"))
        with pytest.raises(UserError, match=r"supervisord (would|refuses)"):
            prove(configuration(program(log=Path("/logs/%%d.log"))))

    def test_a_socket_that_reads_otherwise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(quote, "value", lambda text, *_: text)
        with pytest.raises(UserError, match="supervisord would read socket of the service"):
            prove(configuration(paths=Paths(Path("/s"), Path("/run ;x"), Path("/logs"))))

    def test_an_account_that_does_not_exist_here_is_no_obstacle(self) -> None:
        """The file may be meant for another machine."""
        prove(configuration(program(user="nobody-of-this-name"), user="root"))

    def test_it_leaves_nothing_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        prove(configuration())
        assert list(tmp_path.iterdir()) == []
