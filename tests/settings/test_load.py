"""Where settings come from, and that every mistake is said at once, with its mend."""

from __future__ import annotations

from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from pydantic import ByteSize

from comfy_supervisor.errors import UserError
from comfy_supervisor.settings import FILE_NAME, Loaded, Settings, find, load, salvage
from comfy_supervisor.settings.complaints import key_paths


def write(folder: Path, text: str) -> Path:
    file = folder / FILE_NAME
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def loaded(folder: Path, text: str, **environ: str) -> Loaded:
    return load(write(folder, text), {f"COMFY_SUPERVISOR__{name}": value for name, value in environ.items()})


def problems(folder: Path, text: str, **environ: str) -> list[str]:
    """Return the complaints, without the file's path."""
    with pytest.raises(UserError) as caught:
        loaded(folder, text, **environ)
    return [problem.removeprefix(f"{folder / FILE_NAME}: ") for problem in caught.value.problems]


class TestFind:
    """``-c``, $COMFY_SUPERVISOR_CONFIG, the working folder, the user's, /etc: the first wins."""

    def test_the_order(self, tmp_path: Path) -> None:
        given, named = write(tmp_path / "given", ""), write(tmp_path / "named", "")
        here, users = write(tmp_path / "cwd", ""), write(tmp_path / "home/.config/comfy-supervisor", "")
        environ = {"COMFY_SUPERVISOR_CONFIG": str(named), "HOME": str(tmp_path / "home")}
        cwd = tmp_path / "cwd"
        assert find(str(given), environ, cwd) == given
        assert find(None, environ, cwd) == named
        del environ["COMFY_SUPERVISOR_CONFIG"]
        assert find(None, environ, cwd) == here
        here.unlink()
        assert find(None, environ, cwd) == users
        environ["XDG_CONFIG_HOME"] = str(tmp_path / "elsewhere")
        assert find(None, environ, cwd) is None

    def test_a_relative_name_counts_from_the_working_folder(self, tmp_path: Path) -> None:
        file = write(tmp_path, "")
        assert find(FILE_NAME, {}, tmp_path) == file

    @pytest.mark.parametrize("how", ["--config", "$COMFY_SUPERVISOR_CONFIG"])
    def test_one_that_was_named_and_is_not_there_is_said(self, how: str, tmp_path: Path) -> None:
        given, environ = ("x.toml", {}) if how == "--config" else (None, {"COMFY_SUPERVISOR_CONFIG": "x.toml"})
        with pytest.raises(UserError, match=r"x\.toml: no such file, though .*" + how[1:]):
            find(given, environ, tmp_path)

    def test_none_is_fine(self) -> None:
        assert load(None, {}).settings.comfyui.port == 8188


class TestEnvironment:
    """``COMFY_SUPERVISOR__TABLE__KEY`` wins over the file."""

    def test_it_wins(self, tmp_path: Path) -> None:
        found = loaded(tmp_path, "[comfyui]\nport = 1\nlisten = '::1'", COMFYUI__PORT="8189", GPU__TIERS__GPU_ONLY="30")
        assert (found.settings.comfyui.port, found.settings.comfyui.listen) == (8189, "::1")
        assert found.settings.gpu.tiers.gpu_only == 30

    @pytest.mark.parametrize(
        ("text", "devices"),
        [("all", "all"), ("0,2", (0, 2)), ("[0, 2]", (0, 2)), ("GPU-a,1", ("GPU-a", 1)), ('["MIG-x"]', ("MIG-x",))],
    )
    def test_lists_are_written_as_people_write_them(self, text: str, devices: object) -> None:
        assert load(None, {"COMFY_SUPERVISOR__GPU__DEVICES": text}).settings.gpu.devices == devices

    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("HEALTH__WATCH", "no", False),
            ("JOBS__EXTENSION", "1", True),
            ("HEALTH__SUSPECT_EVERY", "2", 2.0),
            ("GPU__CUDA_MALLOC", "true", True),
            ("GPU__CUDA_MALLOC", "auto", "auto"),
            ("GPU__POLICY", "none", "none"),
            ("GPU__PIN", "uuid", "uuid"),
            ("LOGS__TARGET", "journal", "journal"),
            ("HEALTH__PRESET", "fast", "fast"),
            ("JOBS__REPLAY", "crash", "crash"),
            ("SERVICE__OOM_POLICY", "kill", "kill"),
            ("STALL__PATIENT_NODES", "A, B", ("A", "B")),
            ("LOGS__MAX_BYTES", "60MiB", 60 * 1024**2),
        ],
    )
    def test_its_texts_stand_for_what_a_setting_takes(self, name: str, text: str, value: object) -> None:
        found = load(None, {f"COMFY_SUPERVISOR__{name}": text}).settings
        assert reduce(getattr, name.lower().split("__"), found) == value

    def test_arguments_are_split_as_a_shell_would(self) -> None:
        found = load(None, {"COMFY_SUPERVISOR__COMFYUI__EXTRA_ARGS": "--fast --preview-method 'a b'"})
        assert found.settings.comfyui.extra_args == ("--fast", "--preview-method", "a b")

    def test_a_variable_for_comfyui_keeps_its_case(self, tmp_path: Path) -> None:
        found = loaded(tmp_path, "[comfyui.environment]\nA = 'b'", COMFYUI__ENVIRONMENT__Hf_Home="/x")
        assert found.settings.comfyui.environment == {"A": "b", "Hf_Home": "/x"}

    def test_so_does_one_with_two_underscores_in_its_name(self) -> None:
        found = load(None, {"COMFY_SUPERVISOR__COMFYUI__ENVIRONMENT__A__b": "x"})
        assert found.settings.comfyui.environment == {"A__b": "x"}

    def test_a_wrong_one_for_comfyui_is_named_and_no_other_is_blamed(self, tmp_path: Path) -> None:
        wrong = {"COMFYUI__ENVIRONMENT__A B": "x", "COMFYUI__ENVIRONMENT__C": "y"}
        found = problems(tmp_path, "[comfyui.environment]\nHF = 1\nOK = 'x'", **wrong)
        assert found == [
            "comfyui.environment.HF = 1: expected a text, or false to remove it (no control characters)",
            "environment variable COMFY_SUPERVISOR__COMFYUI__ENVIRONMENT__A B: comfyui.environment.A B = "
            '"…": expected a name of letters, digits and _, which doesn\'t begin with a digit',
        ]

    def test_only_the_wrong_entry_is_left_out_of_what_can_be_used(self, tmp_path: Path) -> None:
        file = write(tmp_path, "[comfyui.environment]\nHF = 1\nOK = 'x'\n'A B' = 'y'")
        assert salvage(file, {})[0].settings.comfyui.environment == {"OK": "x"}

    def test_a_wrong_one_is_named(self, tmp_path: Path) -> None:
        found = problems(
            tmp_path, "[comfyui]\nlisten = 'x'", COMFYUI__PORT="x", COMFYUI__PROT="1", COMFYUI__ENVIRONMENT="3"
        )
        assert sorted(found) == [
            'comfyui.listen = "x": expected IP addresses, separated by commas',
            'environment variable COMFY_SUPERVISOR__COMFYUI__ENVIRONMENT: comfyui.environment = "…": '
            "expected a table: a text sets the variable, false removes it",
            'environment variable COMFY_SUPERVISOR__COMFYUI__PORT: comfyui.port = "x": expected a port, 1 to 65535',
            'environment variable COMFY_SUPERVISOR__COMFYUI__PROT: comfyui.prot = "1": unknown key; '
            "did you mean comfyui.port?",
        ]

    def test_a_table_is_not_replaced_by_a_value(self, tmp_path: Path) -> None:
        assert "a plain value where a table belongs" in problems(tmp_path, "[gpu]", GPU="3")[0]
        assert (
            "a plain value where a table belongs" in problems(tmp_path, "[gpu]\npolicy='none'", GPU__POLICY__X="3")[0]
        )


BAD = [
    ("prot = 1\n", ["prot = 1: unknown key; did you mean comfyui.port?"]),
    ("[comfyui]\nprot = 1", ["comfyui.prot = 1: unknown key; did you mean comfyui.port?"]),
    ("[comfy]\nport = 1", ['comfy = {"port": 1}: unknown key; did you mean comfyui?']),
    ("[paths]\nport = 1", ["paths.port = 1: unknown key; did you mean comfyui.port?"]),
    ("[comfyui]\nzzz = 1", ["comfyui.zzz = 1: unknown key; README.md lists them all"]),
    ("[comfyui]\nbogus = 1", ["comfyui.bogus = 1: unknown key; README.md lists them all"]),
    ("[paths]\nx = 1", ["paths.x = 1: unknown key; README.md lists them all"]),
    ("[comfyui]\nprot = '8189'", ['comfyui.prot = "8189": unknown key; did you mean comfyui.port?']),
    ("[paths]\nstaet = '/x'", ['paths.staet = "/x": unknown key; did you mean paths.state?']),
    ("[comfyui]\nzzz = 'x'", ['comfyui.zzz = "…": unknown key; README.md lists them all']),
    ("[health]\nwatch = 'no'", ['health.watch = "no": expected true or false']),
    ("[jobs]\nextension = 1", ["jobs.extension = 1: expected true or false"]),
    ("[comfyui]\nport = '8188'", ['comfyui.port = "8188": expected a port, 1 to 65535']),
    ("[health]\nsuspect_every = '2'", ['health.suspect_every = "2": expected seconds, more than 0']),
    ("[gpu]\ncuda_malloc = 'true'", ['gpu.cuda_malloc = "true": expected true, false or "auto"']),
    ("[gpu]\ncuda_malloc = 1", ['gpu.cuda_malloc = 1: expected true, false or "auto"']),
    (
        "[gpu]\ndevices = '0,1'",
        ['gpu.devices = "0,1": expected "auto", "all", "cpu", or a list of indices and UUIDs'],
    ),
    ("[stall]\npatient_nodes = 'A'", ['stall.patient_nodes = "A": expected a list of names']),
    ("[comfyui]\nPORT = 1", ["comfyui.PORT = 1: unknown key; did you mean comfyui.port?"]),
    ("[restart]\ndevice = 1", ["restart.device = 1: unknown key; did you mean gpu.devices?"]),
    ("[gpu.teirs]\nhighvram = 16", ['gpu.teirs = {"highvram": 16}: unknown key; did you mean gpu.tiers?']),
    ("[tiers]\nhighvram = 16", ['tiers = {"highvram": 16}: unknown key; did you mean gpu.tiers?']),
    ("[log]\nbackups = 3", ['log = {"backups": 3}: unknown key; did you mean logs?']),
    ("comfyui = 3", ["comfyui = 3: expected a table"]),
    ("[comfyui]\nport = 65536", ["comfyui.port = 65536: expected a port, 1 to 65535"]),
    ("[comfyui]\nport = 'x'", ['comfyui.port = "x": expected a port, 1 to 65535']),
    (
        "[comfyui]\nlisten = '127.0.0.1:80'",
        ['comfyui.listen = "127.0.0.1:80": expected IP addresses, separated by commas'],
    ),
    (
        "[comfyui]\ndirectory = 'a\\nb'\n".replace("'", '"'),
        ['comfyui.directory = "a\\nb": expected a path without control characters'],
    ),
    ("[comfyui]\nuser = 'a b'", ['comfyui.user = "a b": expected the name of an account']),
    ("[comfyui]\nextra_args = [3]", ["comfyui.extra_args = 3: expected a list of arguments, or one text of them"]),
    (
        '[comfyui]\nextra_args = "--a \'b"',
        ['comfyui.extra_args = "--a \'b": expected a list of arguments, or one text of them'],
    ),
    (
        "[comfyui.environment]\n'A B' = 'x'",
        ['comfyui.environment.A B = "…": expected a name of letters, digits and _, which doesn\'t begin with a digit'],
    ),
    (
        "[comfyui.environment]\nHF = 1\n'A B' = 'x'\nOK = 'x'\nZERO = 0\nYES = true",
        [
            "comfyui.environment.HF = 1: expected a text, or false to remove it (no control characters)",
            'comfyui.environment.A B = "…": expected a name of letters, digits and _, '
            "which doesn't begin with a digit",
            "comfyui.environment.ZERO = 0: expected a text, or false to remove it (no control characters)",
            "comfyui.environment.YES = true: expected a text, or false to remove it (no control characters)",
        ],
    ),
    (
        '[comfyui.environment]\n"A\\nB" = "x"\n"C" = "x\\ny"',
        [
            'comfyui.environment."A\\nB" = "…": expected a name of letters, digits and _, '
            "which doesn't begin with a digit",
            'comfyui.environment.C = "…": expected a text, or false to remove it (no control characters)',
        ],
    ),
    (
        "[comfyui.environment]\nCOMFY_SUPERVISOR_STATE = 'x'\nSUPERVISOR_SERVER_URL = false",
        [
            'comfyui.environment.COMFY_SUPERVISOR_STATE = "…": expected a name that doesn\'t begin with '
            "COMFY_SUPERVISOR_ or SUPERVISOR_: the launcher is told by these",
            "comfyui.environment.SUPERVISOR_SERVER_URL = false: expected a name that doesn't begin with "
            "COMFY_SUPERVISOR_ or SUPERVISOR_: the launcher is told by these",
        ],
    ),
    (
        "[gpu]\ndevices = [true]",
        ['gpu.devices = [true]: expected "auto", "all", "cpu", or a list of indices and UUIDs'],
    ),
    (
        "[gpu]\ndevices = ['GPU-a', 'x']",
        ['gpu.devices = ["GPU-a", "x"]: expected "auto", "all", "cpu", or a list of indices and UUIDs'],
    ),
    ("[gpu]\ndevices = []", ['gpu.devices = []: expected "auto", "all", "cpu", or a list of indices and UUIDs']),
    ("[gpu]\npolicy = 'tears'", ['gpu.policy = "tears": expected "tiers", "dynamic" or "none"']),
    ("[logs]\nmax_bytes = '5'", ['logs.max_bytes = "5": expected bytes, or a text such as "50MiB"; 1024 or more']),
]


@pytest.mark.parametrize(("text", "expected"), BAD, ids=[text for text, _ in BAD])
def test_each_mistake_has_its_message(text: str, expected: list[str], tmp_path: Path) -> None:
    assert problems(tmp_path, text) == expected


CLASHES = [
    ("[gpu.tiers]\nhighvram = 20", "gpu.tiers = "),
    ("[gpu]\ndevices = [0, 0]", "gpu.devices = [0, 0]: expected each GPU once"),
    ("[comfyui]\nextra_args = '--port 3'", '"--port": --port has a setting of its own; set comfyui.port instead'),
    ("[restart]\nfirst_delay = 400", "restart.first_delay = 400: expected at most restart.longest_delay"),
]


@pytest.mark.parametrize(("text", "expected"), CLASHES, ids=[text for text, _ in CLASHES])
def test_what_can_not_be_meant_together_is_said(text: str, expected: str, tmp_path: Path) -> None:
    (found,) = problems(tmp_path, text)
    assert expected in found


class TestExposure:
    """What lets others than this machine's users reach ComfyUI is refused, unless it is said that it is meant."""

    MEND = (
        "can run code on this machine as ComfyUI's account, without a password; set security.expose = true to allow it"
    )

    @pytest.mark.parametrize(
        "listen", ["0.0.0.0", "::", "192.168.1.4", "127.0.0.1,10.0.0.1", "::ffff:10.0.0.1", "fe80::1%eth0"]
    )
    def test_an_address_beyond_this_machine(self, listen: str, tmp_path: Path) -> None:
        text = f"[comfyui]\nlisten = '{listen}'\n"
        meaning = f"whoever reaches this address {self.MEND}"
        assert problems(tmp_path, text) == [f'comfyui.listen = "{listen}": {meaning}']
        assert loaded(tmp_path, f"{text}[security]\nexpose = true").settings.comfyui.listen == listen
        assert loaded(tmp_path, text, SECURITY__EXPOSE="true").settings.security.expose

    @pytest.mark.parametrize("listen", ["127.0.0.1", "127.8.8.8,::1", "localhost", "::ffff:127.0.0.1"])
    def test_an_address_of_this_machine_alone_is_fine(self, listen: str, tmp_path: Path) -> None:
        assert loaded(tmp_path, f"[comfyui]\nlisten = '{listen}'").settings.comfyui.listen == listen

    @pytest.mark.parametrize("origin", ["*", " * ", "null", "NULL"])
    def test_any_origin(self, origin: str, tmp_path: Path) -> None:
        """A page in a sandboxed frame has the origin null, and browsers cut blanks off."""
        text = f"[comfyui]\ncors_origin = '{origin}'\n"
        meaning = f"any web page open in a browser that reaches it {self.MEND}"
        assert problems(tmp_path, text) == [f'comfyui.cors_origin = "{origin}": {meaning}']
        assert loaded(tmp_path, f"{text}[security]\nexpose = true").settings.comfyui.cors_origin == origin

    def test_one_origin_is_fine(self, tmp_path: Path) -> None:
        assert loaded(tmp_path, "[comfyui]\ncors_origin = 'https://example.org'")

    def test_a_misspelt_word_for_it_opens_nothing(self, tmp_path: Path) -> None:
        found = problems(tmp_path, "[comfyui]\nlisten = '::'\n[security]\nexpose = 'maybe'")
        assert found[0] == 'security.expose = "maybe": expected true or false'
        assert found[1].startswith('comfyui.listen = "::": ')


def test_all_mistakes_are_said_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        "oops = 1\n[comfyui]\nport = 'x'\nprot = 2\n[gpu]\ndevices = [0, 0]\n[logs]\nbackups = -1",
        PATHS__STAET="/x",
    )
    text = "\n".join(found)
    assert len(found) == 6
    for part in ("oops", "comfyui.port", "comfyui.prot", "gpu.devices", "logs.backups", "paths.staet"):
        assert part in text


@pytest.mark.parametrize("content", [b"[comfyui", b"a = \xff", b"a = 1\na = 2"])
def test_a_file_that_is_no_toml_is_said_with_its_place(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.toml: not (valid TOML: .*document|UTF-8 at byte)"):
        load(file, {})


SECRETIVE = [
    "[comfyui.environment]\n'HF TOKEN' = 'secret'",
    '[comfyui.environment]\nHF_TOKEN = "secret\\n"',
    "[comfyui]\nenvironment = 'HF_TOKEN=secret'",
    "[comfyui]\nenvironment = ['HF_TOKEN=secret']",
    "[comfyui]\nHF_TOKEN = 'secret'",
    "[comfyui.enviroment]\nHF_TOKEN = 'secret'",
    "comfyui = 'HF_TOKEN=secret'",
    "[notfy]\nwebhook = 'https://example.org/secret'\nheaders = {Authorization = 'secret'}\nurls = ['secret']",
    "[notify]\nurls = 'secret'",
    "[notify]\nweb_hook = 'secret'",
    "[paths]\nurl = 'secret'",
    "[comfyui]\nheader = 'secret'",
    "[comfyui]\nport_token = 'secret'",
    "[incidents]\nkeys = 'secret'",
    "[comfyui]\npass = 'secret'",
]


@pytest.mark.parametrize("text", SECRETIVE)
def test_what_may_be_secret_is_not_shown(text: str, tmp_path: Path) -> None:
    (found,) = problems(tmp_path, text)
    assert "secret" not in found
    assert "…" in found


@pytest.mark.parametrize("variable", ["COMFYUI__ENVIRONMENT", "COMFYUI", "COMFYUI__HF_TOKEN", "NOTIFY__WEBHOOK"])
def test_nor_if_a_variable_holds_it(variable: str, tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "[comfyui]\nport = 1", **{variable: '{"HF_TOKEN": "secret"'})
    assert "secret" not in found


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, f"[gpu]\npolicy = '{'x' * 500}'")
    assert len(found) < 200


def test_paths_count_from_the_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    found = loaded(tmp_path, "")
    assert found.path("a/../b") == tmp_path / "b"
    assert found.path("~/a") == Path("/home/me/a")
    assert found.path("/a") == Path("/a")


def test_the_home_of_nobody_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'\.toml: "~nosuch/x": no home folder is known for ~nosuch; write the path'):
        loaded(tmp_path, "").path("~nosuch/x")
    with pytest.raises(UserError, match=r'\$COMFY_SUPERVISOR_CONFIG: "~nosuch/x": no home folder'):
        find(None, {"COMFY_SUPERVISOR_CONFIG": "~nosuch/x"}, tmp_path)


NUMBERS = [path for path, known in key_paths(Settings) if known.annotation in (int, ByteSize)]


@pytest.mark.parametrize("path", NUMBERS, ids=".".join)
def test_a_number_is_neither_true_nor_a_fraction_and_may_come_as_text(path: tuple[str, ...], tmp_path: Path) -> None:
    """Pydantic would take true for 1, and 20.0 for 20."""
    table, key = ".".join(path[:-1]), path[-1]
    for wrong in ("true", "false", "20.0", "20.5", "nan"):
        (problem,) = problems(tmp_path, f"[{table}]\n{key} = {wrong}\n")
        assert problem.startswith(f"{'.'.join(path)} = ")
        assert ": expected " in problem
    default: Any = reduce(getattr, path, Settings())
    found = loaded(tmp_path, "", **{"__".join(path).upper(): str(int(default))}).settings
    assert reduce(getattr, path, found) == default
