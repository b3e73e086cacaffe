"""The record of known releases, and the parsers rebuilt from it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from comfy_supervisor.comfyui.parser import prove, prove_record, read
from comfy_supervisor.comfyui.releases import argument_parser, known, nearest
from comfy_supervisor.comfyui.version import read_version
from comfy_supervisor.model import CommandLine, Installation
from tests.support import needs_comfyui

NEWEST = "0.33.0"


def refusal(version: str, *argv: str) -> str:
    return prove_record(known()[version], [argv])[0]


def test_fourteen_releases_are_known_the_oldest_first() -> None:
    versions = list(known())
    assert len(versions) == 14
    assert versions == sorted(versions, key=lambda version: [int(part) for part in version.split(".")])
    assert (versions[0], versions[-1]) == ("0.3.10", NEWEST)


@pytest.mark.parametrize(
    ("version", "record"),
    [
        ("0.3.64", "0.3.64"),
        ("v0.3.64", "0.3.64"),
        ("0.3.65", "0.3.64"),
        ("0.3.9", "0.3.10"),
        ("0.21.1", "0.18.0"),
        ("0.22", "0.22.0"),
        ("0.22.0-12-gabcdef0", "0.22.0"),
        ("0.46.0", NEWEST),
        ("", NEWEST),
        ("master", NEWEST),
    ],
)
def test_nearest_is_the_newest_record_that_is_not_newer(version: str, record: str) -> None:
    assert nearest(version).version == record


def test_record_tells_what_drifted() -> None:
    """The drift that the choice of flags depends on is in the record."""
    assert "--normalvram" in known()["0.18.0"]
    assert "--normalvram" not in known()["0.22.0"]
    assert known()["0.22.0"].options["--cuda-device"].type == "int"
    assert known()["0.23.0"].options["--cuda-device"].type == "str"


@pytest.mark.parametrize(
    ("version", "argv"),
    [
        ("0.3.10", ["--cuda-device", "1", "--normalvram"]),
        ("0.22.0", ["--verbose", "--cache-ram"]),
        (NEWEST, ["--cuda-device", "0,1"]),
        (NEWEST, ["--listen"]),
        (NEWEST, ["--listen=::1", "--enable-cors"]),
        (NEWEST, ["--user-directory", "/not/made/yet"]),
        (NEWEST, ["--fast"]),
        (NEWEST, ["--fast", "cublas_ops", "autotune"]),
        (NEWEST, ["--cache-ram", "4", "8.5"]),
        (NEWEST, ["--cache-ram", "1", "2", "3", "--cache-ram", "1"]),
        (NEWEST, ["--cache-lru", "0", "--cache-classic"]),
        (NEWEST, ["--verbose", "--verbose", "DETAIL", "--verbose", "DEBUG", "debug.log"]),
        (NEWEST, ["--feature-flag", "a=1", "--feature-flag", "b"]),
    ],
)
def test_accepted(version: str, argv: list[str]) -> None:
    assert refusal(version, *argv) == ""


@pytest.mark.parametrize(
    ("version", "argv", "text"),
    [
        ("0.22.0", ["--normalvram"], "unrecognized arguments: --normalvram"),
        ("0.22.0", ["--cuda-device", "0,1"], "argument --cuda-device: invalid int value: '0,1'"),
        ("0.22.0", ["--verbose", "DETAIL"], "argument --verbose: invalid choice: 'DETAIL'"),
        ("0.22.0", ["--cache-ram", "1", "2"], "unrecognized arguments: 2"),
        ("0.22.0", ["--cache-classic", "--cache-ram"], "not allowed with argument --cache-classic"),
        (NEWEST, ["--gpu-only", "--cpu"], "argument --cpu: not allowed with argument --gpu-only"),
        (NEWEST, ["--cache-lru", "1", "--cache-classic"], "not allowed with argument --cache-lru"),
        (NEWEST, ["--reserve-vram", "much"], "argument --reserve-vram: invalid float value: 'much'"),
        (NEWEST, ["--preview-method", "best"], "argument --preview-method: invalid choice: 'best'"),
        (NEWEST, ["--fast", "dynamic_vram"], "argument --fast: invalid choice: 'dynamic_vram'"),
        (NEWEST, ["--cache-ram", "1", "2", "3"], "--cache-ram accepts at most two values"),
        (NEWEST, ["--verbose", "loud"], "--verbose expects no values, a console LEVEL, or LEVEL FILE"),
        (NEWEST, ["--verbose", "INFO", "a", "b"], "--verbose expects no values"),
        (NEWEST, ["--disable-c"], "ambiguous option: --disable-c could match"),
        (NEWEST, ["--port"], "argument --port: expected one argument"),
        (NEWEST, ["workflow.json"], "unrecognized arguments: workflow.json"),
        (NEWEST, ["--help"], "ends at once with exit status 0"),
    ],
)
def test_refused_in_argparses_own_words(version: str, argv: list[str], text: str) -> None:
    assert text in refusal(version, *argv)


@pytest.mark.parametrize("version", known())
def test_every_release_refuses_two_of_its_vram_group(version: str) -> None:
    group = next(group for group in known()[version].exclusive if "--lowvram" in group)
    for first, second in itertools.pairwise(group):
        assert refusal(version, first) == ""
        assert f"not allowed with argument {first}" in refusal(version, first, second)


def test_refusing_ends_with_exit_status_2_as_comfyui_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        argument_parser(nearest("")).parse_args(["--nope"])
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith("main.py: error: unrecognized arguments: --nope\n")


def test_values_are_parsed_to_their_types() -> None:
    argv = ["--port", "8190", "--reserve-vram", "1.5", "--cpu", "--extra-model-paths-config", "a", "b"]
    arguments = argument_parser(known()["0.3.64"]).parse_args(argv)
    assert (arguments.port, arguments.reserve_vram, arguments.cpu) == (8190, 1.5, True)
    assert arguments.extra_model_paths_config == [["a", "b"]]
    assert arguments.temp_directory is None


def test_option_without_its_optional_value() -> None:
    """What it then means is ComfyUI's, and never what argparse takes for "not given"."""
    arguments = argument_parser(known()["0.22.0"]).parse_args(["--listen", "--enable-cors-header", "--cache-ram"])
    assert (arguments.listen, arguments.enable_cors_header, arguments.cache_ram) == ("0.0.0.0,::", "*", True)


def test_importing_reads_no_data() -> None:
    """The record is read when it is first asked for."""
    check = "import comfy_supervisor.comfyui.releases as r; assert r.known.cache_info().currsize == 0"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


VALUES = ["", "0", "1", "-1", "2.5", "-1.5", "8188", "abc", "a b", "é", "/none", "0,1", "-", "--", "-x"]
WORDS = ["INFO", "DEBUG", "DETAIL", "auto", "md5", "fp16_accumulation", "autotune", "dynamic_vram", "taesd"]


def argvs(command_line: CommandLine) -> st.SearchStrategy[list[str]]:
    """Return command lines near to what the release takes: abbreviations, joined values, wrong ones."""
    name = st.sampled_from(sorted(command_line.options)) | st.sampled_from(
        sorted(name for group in command_line.exclusive for name in group)
    )
    value = st.sampled_from(VALUES + WORDS) | st.text(max_size=3).filter(lambda text: "\0" not in text)
    abbreviated = st.builds(lambda option, cut: option[: max(3, len(option) - cut)], name, st.integers(0, 12))
    option = st.one_of(name, name, abbreviated, st.builds("{}={}".format, name | abbreviated, value))
    part = st.builds(lambda option, values: [option, *values], option, st.lists(value, max_size=3))
    whole = st.lists(st.builds(list, st.tuples(name)) | part, max_size=4)
    return st.builds(lambda parts: [word for part in parts for word in part], whole)


@pytest.fixture(scope="module")
def real() -> Installation:
    """The ComfyUI of COMFYUI_DIR, read by our own interpreter: argparse is then the same on both sides."""
    directory = Path(os.environ["COMFYUI_DIR"])
    return Installation(directory, Path(sys.executable), read_version(directory))


@needs_comfyui
def test_record_equals_what_the_real_release_says(real: Installation) -> None:
    if real.version not in known():
        pytest.skip(f"no record of ComfyUI {real.version}")
    record, found = known()[real.version], read(real)
    assert dict(found.options) == dict(record.options)
    assert found.exclusive == record.exclusive


@needs_comfyui
@settings(max_examples=25, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.data())
def test_rebuilt_parser_and_the_real_one_agree(real: Installation, data: st.DataObject) -> None:
    if real.version not in known():
        pytest.skip(f"no record of ComfyUI {real.version}")
    record = known()[real.version]
    batch = data.draw(st.lists(argvs(record), min_size=20, max_size=60))
    truth = prove(real, batch, deadline=60)
    for argv, real_answer, our_answer in zip(batch, truth, prove_record(record, batch), strict=True):
        assert bool(real_answer) == bool(our_answer), (argv, real_answer, our_answer)
