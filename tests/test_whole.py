"""From arbitrary settings to what supervisord reads: refused, or exactly what was meant; never a section more."""

from __future__ import annotations

from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st
from pydantic import ValidationError

from comfy_supervisor.errors import UserError
from comfy_supervisor.render import Configuration, prove
from comfy_supervisor.settings import Settings
from tests.cases import configured, sections_of

AWKWARD = [
    "%",
    "%(x)s",
    "%(here)s",
    " ;",
    "#",
    "'",
    '"',
    "\\",
    ",",
    "\n[program:evil]\ncommand=/bin/sh",
    "é",
    "\x00",
    "=",
    " ",
]
words = st.lists(st.one_of(st.sampled_from(AWKWARD), st.text(max_size=3)), max_size=4).map("".join)
folders = words.map(lambda word: "/" + word.replace("/", "").replace("..", "") + "x")
tables = st.fixed_dictionaries(
    {},
    optional={
        "comfyui": st.fixed_dictionaries(
            {},
            optional={
                "directory": folders,
                "python": folders,
                "cors_origin": words,
                "extra_args": st.lists(words.map(lambda word: f"--{word}"), max_size=2),
                "environment": st.dictionaries(
                    st.sampled_from(["A", "HF_TOKEN", "TQDM_DISABLE"]), st.one_of(words, st.just(False))
                ),
                "port": st.integers(0, 70000),
                "listen": st.sampled_from(["127.0.0.1", "::1,127.0.0.1", "x"]),
            },
        ),
        "gpu": st.fixed_dictionaries(
            {}, optional={"devices": st.sampled_from(["auto", "all", "cpu"]), "pin": st.sampled_from(["index", "uuid"])}
        ),
        "paths": st.fixed_dictionaries({}, optional={"state": folders, "logs": folders, "output": folders}),
    },
)


def rendered(data: dict[str, Any]) -> Configuration | str:
    """Return what was proved, or why it was refused."""
    try:
        made = configured(Settings.model_validate(data))
        prove(made)
    except (ValidationError, UserError) as error:
        return str(error)
    return made


@given(tables)
def test_refused_or_exactly_what_was_meant(data: dict[str, Any]) -> None:
    """And refused by the quoting, which names the setting: the proof has nothing to find."""
    found = rendered(data)
    event("refused" if isinstance(found, str) else "proved")
    if isinstance(found, str):
        assert "supervisord would" not in found
        return
    own = {"unix_http_server", "supervisord", "rpcinterface:supervisor", "supervisorctl"}
    groups = {f"group:{name}" for name, _ in found.groups}
    assert sections_of(found).keys() == own | groups | {f"{one.kind}:{one.name}" for one in found.programs}
