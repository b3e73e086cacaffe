"""Whatever passes as settings: supervisord's own parser finds our sections, keys and values, and nothing else."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import event, example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from comfy_supervisor.errors import UserError
from comfy_supervisor.model import Account, Program
from comfy_supervisor.render import Configuration, changes, proof, prove, reader, text
from comfy_supervisor.settings import Settings
from tests.cases import configured, sections_of

from . import EVIL, bounded, examples, words

OWN = {"unix_http_server", "supervisord", "rpcinterface:supervisor", "supervisorctl"}
KEYS = {
    *("command", "directory", "environment", "user", "redirect_stderr", "stdout_logfile", "stderr_logfile"),
    *("stdout_logfile_maxbytes", "stdout_logfile_backups", "stderr_logfile_maxbytes", "stderr_logfile_backups"),
}
"""Of a program's section, beside its options."""
folders = words.map(lambda word: f"/{word}/x")
tables = st.fixed_dictionaries(
    {},
    optional={
        "comfyui": st.fixed_dictionaries(
            {},
            optional={
                "directory": folders,
                "python": folders,
                "version": words,
                "cors_origin": words,
                "extra_args": st.lists(st.one_of(words, words.map(lambda word: f"--{word}")), max_size=2),
                "environment": st.dictionaries(st.sampled_from(["A", "HF_TOKEN", "PATH"]), words, max_size=2),
                "listen": st.sampled_from(["127.0.0.1", "::1%a", "localhost"]),
            },
        ),
        "paths": st.fixed_dictionaries({}, optional=dict.fromkeys(["state", "run", "logs", "output"], folders)),
        "gpu": st.fixed_dictionaries({}, optional={"devices": st.sampled_from(["auto", "all", "cpu"])}),
        "logs": st.fixed_dictionaries({}, optional={"target": st.sampled_from(["files", "journal"])}),
        "health": st.fixed_dictionaries({}, optional={"watch": st.booleans()}),
        "notify": st.fixed_dictionaries({}, optional={"webhook": words, "headers": st.just({"A": EVIL})}),
        "security": st.just({"expose": True}),
    },
)
accounts = st.one_of(st.none(), st.tuples(words, folders))


def proved(data: dict[str, Any], account: Account | None, fragment: bool) -> Configuration | str:
    """Return what was proved, or why it was refused."""
    try:
        with bounded():
            made = configured(Settings.model_validate(data), account, fragment=fragment, header=EVIL)
            prove(made)
    except (ValidationError, UserError) as error:
        return str(error)
    return made


def is_meant(made: Configuration) -> bool:
    """Tell whether supervisord would run the programs as they are meant; it wants to see the folders of their logs."""
    with tempfile.TemporaryDirectory() as scratch:
        here = proof._mapped(replace(made, fragment=False), Path(scratch))
        file = Path(scratch) / "s.conf"
        file.write_text(text(here), encoding="utf-8")
        found = dict(reader.programs(reader.options(file)))
    return found.keys() == {one.name for one in here.programs} and all(
        means(one, found[one.name]) for one in here.programs
    )


def means(program: Program, found: reader.Meaning) -> bool:
    """Tell whether supervisord would run a program as it is meant; its folders need not exist."""
    return (found.argv, found.environment, found.directory, found.log) == (
        program.command,
        dict(program.environment),
        str(program.directory),
        str(program.log),
    )


@examples(250)
@given(tables, accounts, st.booleans())
@example({"paths": {"logs": f"/{EVIL}"}}, None, False)
@example({"comfyui": {"extra_args": [f"--{EVIL}"]}}, None, True)
@example({"comfyui": {"environment": {"A": EVIL}}}, None, True)
@example({}, ("root\n[program:evil]", "/x"), False)
@example({}, ("root", f"/{EVIL}"), False)
@example({"paths": {"logs": "//x"}}, None, False)
@example({"paths": {"logs": f"/{EVIL}"}, "logs": {"target": "journal"}}, None, False)
def test_no_value_makes_a_section_or_a_key(data: dict[str, Any], who: tuple[str, str] | None, fragment: bool) -> None:
    account = Account(who[0], 1, 1, Path(who[1])) if who else None
    made = proved(data, account, fragment)
    event("refused" if isinstance(made, str) else "proved")
    if isinstance(made, str):
        assert "supervisord would" not in made  # the quoting has refused it, and named the setting
        return
    wanted = {f"group:{name}" for name, _ in made.groups} | {f"{one.kind}:{one.name}" for one in made.programs}
    found = sections_of(made)
    assert found.keys() == wanted | (set() if fragment else OWN)
    for program in made.programs:
        assert found[f"{program.kind}:{program.name}"].keys() <= KEYS | program.options.keys()
    assert is_meant(made)


sections = st.dictionaries(
    st.sampled_from(["program:a", "program:b", "eventlistener:c", "group:g", "supervisord", "x"]),
    st.dictionaries(st.sampled_from(["command", "environment", "programs", "user"]), words, max_size=3),
    max_size=4,
)


@examples(150)
@given(sections, sections)
@example({"program:a": {"command": "it's"}}, {"program:a": {"command": "x"}})
def test_a_file_that_somebody_has_changed_is_compared_all_the_same(
    old: dict[str, dict[str, str]], new: dict[str, dict[str, str]]
) -> None:
    with bounded():
        found = changes.between(old, new)
    assert {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)} <= {
        one.section for one in found
    }
