"""A settings file, and an environment, of anything at all: taken, or refused in lines that a terminal can show."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from comfy_supervisor.errors import UserError
from comfy_supervisor.settings import Settings, exposure, load
from comfy_supervisor.settings.complaints import key_paths
from comfy_supervisor.settings.load import PREFIX

from . import bounded, examples, lone, scalars, values, words

PATHS = [path for path, _ in key_paths(Settings)]
names = st.one_of(
    st.sampled_from(sorted({word for path in PATHS for word in path})),
    words,
    st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
)
odd_toml = st.sampled_from(
    ["nan", "inf", "-inf", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "0x7fffffffffffffffff", "1_0", "'a'"]
)


def toml(value: Any) -> str:
    """Return a value as TOML writes it; what it has no way to write becomes a text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and value - value != 0:
        return "nan" if math.isnan(value) else "inf"
    return '"none"' if value is None else json.dumps(value)


def loaded(content: bytes, environ: Mapping[str, str]) -> Settings | None:
    """Return what is made of it; None: it was refused, in lines of which each says what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.toml"
        file.write_bytes(content)
        try:
            with bounded():
                return load(file, environ).settings
        except UserError as error:
            for line in error.problems:
                assert line.isprintable(), line
                assert len(line) < 1000
            return None


def is_sound(settings: Settings) -> bool:
    """Tell whether settings hold what they promise, also where they are read once more."""
    open_to_others = exposure.is_open(settings.comfyui.listen) or exposure.is_any_origin(settings.comfyui.cors_origin)
    again = Settings.model_validate(settings.model_dump())
    return again == settings and (settings.security.expose or not open_to_others)


@examples(150)
@given(st.one_of(st.binary(max_size=200), words.map(lambda text: text.encode(errors="replace"))))
def test_a_file_of_anything(content: bytes) -> None:
    found = loaded(content, {})
    event("refused" if found is None else "taken")


@examples(300)
@given(st.lists(st.tuples(st.sampled_from(PATHS), st.one_of(values.map(toml), odd_toml)), max_size=4), names)
@example([(("comfyui", "directory"), '{"\\u009b[2J" = 1}')], "x")
def test_a_file_with_our_keys_and_any_values(settings: list[tuple[tuple[str, ...], str]], unknown: str) -> None:
    lines = [f"{'.'.join(path)} = {value}" for path, value in dict(settings).items()]
    found = loaded("\n".join([*lines, f"{json.dumps(unknown)} = 3"]).encode(errors="replace"), {})
    assert found is None
    found = loaded("\n".join(lines).encode(errors="replace"), {})
    event("refused" if found is None else "taken")
    assert found is None or is_sound(found)


variables = st.dictionaries(
    st.one_of(
        st.sampled_from(PATHS).map(lambda path: "__".join(path).upper()),
        st.lists(names, min_size=1, max_size=3).map("__".join),
        lone,
    ).map(lambda name: PREFIX + name.replace("\0", "").replace("=", "")),
    st.one_of(words, lone, scalars.map(str), values.map(json.dumps), st.text(max_size=30)).map(
        lambda text: text.replace("\0", "")
    ),
    max_size=4,
)


@examples(300)
@given(variables)
@example({f"{PREFIX}\ud800": "x"})
@example({f"{PREFIX}COMFYUI": '{"\\ud800": 1}'})
def test_an_environment_of_anything(environ: dict[str, str]) -> None:
    found = loaded(b"", {os.fsdecode(name.encode("utf-8", "surrogatepass")): text for name, text in environ.items()})
    event("refused" if found is None else "taken")
    assert found is None or is_sound(found)


@examples(150)
@given(st.one_of(st.ip_addresses().map(str), words, st.sampled_from(["localhost", "::1", "::ffff:0.0.0.0"])), words)
@example("::1%\n[program:evil]", "")
@example("::1%]:80 x", "")
def test_an_address_is_closed_unless_it_is_meant(listen: str, origin: str) -> None:
    comfyui = {"listen": listen, "cors_origin": origin}
    found = loaded(f"comfyui = {toml(comfyui)}".encode(errors="replace"), {})
    assert found is None or is_sound(found)
    assert found is None or re.fullmatch(r"[\w.:%,-]+", found.comfyui.listen, re.ASCII)


@pytest.mark.parametrize("depth", [50, 200, 1000, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"a":', "{a="])
def test_what_is_nested_deep(opening: str, depth: int) -> None:
    closing = ("]" if opening == "[" else "}") * depth
    text = f"{opening * depth}1{closing}"
    assert loaded(f"comfyui.port = {text}".encode(), {}) is None
    assert loaded(b"", {f"{PREFIX}COMFYUI__PORT": text}) is None
    assert loaded(b"", {f"{PREFIX}COMFYUI__{'A__' * depth}B": "1"}) is None


@pytest.mark.parametrize("value", ["9" * 5000, "-" + "9" * 5000, "0x" + "f" * 5000, "1e99999"])
def test_a_number_with_thousands_of_digits(value: str) -> None:
    assert loaded(f"comfyui.port = {value}".encode(), {}) is None
    for text in (value, f"[{value}]"):
        assert loaded(b"", {f"{PREFIX}COMFYUI__PORT": text}) is None
