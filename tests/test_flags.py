"""Which options an instance gets: every card, every release, every policy; and the user's own arguments win."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfy_supervisor import flags
from comfy_supervisor.comfyui import parser, releases
from comfy_supervisor.errors import UserError
from comfy_supervisor.model import Gpu, Invocation
from tests.cases import CARDS, EXTENSION, case, gpu

RELEASES = list(releases.known())
FOLDERS = flags.Folders(Path("/out/gpu0"), Path("/state/gpu0/user"), Path("/state/gpu0"))


def card(entry: dict[str, Any], **more: Any) -> Gpu:
    return gpu(name=entry["name"], mib=entry["mib"], **more)


def given_options(invocation: Invocation) -> set[str]:
    return {flag.option for flag in invocation.flags}


def refusal(invocation: Invocation, release: str) -> str:
    (found,) = parser.prove_record(releases.known()[release], [invocation.argv])
    return found


@pytest.mark.parametrize("entry", CARDS, ids=lambda entry: entry["name"])
def test_a_card_gets_the_tier_of_its_nominal_size(entry: dict[str, Any]) -> None:
    assert flags.choose(case(card(entry))).tier == entry["tier"]


@pytest.mark.parametrize(
    ("size", "words"),
    [(8, "an 8 GB"), (11, "an 11 GB"), (18, "an 18 GB"), (80, "an 80 GB"), (12, "a 12 GB"), (24, "a 24 GB")],
)
def test_the_reason_is_a_sentence(size: int, words: str) -> None:
    (reason,) = [flag.reason for flag in flags.choose(case(gpu(mib=size * 1024))).flags if flag.option in flags.VRAM]
    assert reason.endswith(f"MiB: {words} card")


@pytest.mark.parametrize(
    ("mib", "tier"),
    [
        (19 * 1024, "highvram"),
        (19 * 1024 + 513, "gpu-only"),
        (15 * 1024, "normalvram"),
        (8 * 1024 + 511, "lowvram"),
        (9 * 1024, "normalvram"),
    ],
)
def test_the_bounds_between_tiers_are_whole_gigabytes(mib: int, tier: str) -> None:
    assert flags.choose(case(gpu(mib=mib))).tier == tier


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("entry", CARDS, ids=lambda entry: entry["name"])
@pytest.mark.parametrize("folders", [None, FOLDERS], ids=["alone", "one of several"])
@pytest.mark.parametrize("malloc", [True, False, "auto"])
def test_every_release_accepts_what_every_card_gets(
    release: str, entry: dict[str, Any], folders: flags.Folders | None, malloc: bool | str
) -> None:
    """14 releases, all cards: accepted by the release's parser, and at most one flag of the VRAM group."""
    chosen = flags.choose(case(card(entry), release, folders, gpu={"cuda_malloc": malloc}))
    assert refusal(chosen, release) == ""
    assert len(given_options(chosen) & set(flags.VRAM)) <= 1
    assert all(flag.reason for flag in (*chosen.flags, *chosen.left_out))


@pytest.mark.parametrize("release", RELEASES)
def test_the_tiers_flag_is_given_wherever_the_release_has_it(release: str) -> None:
    """Only --normalvram is ever left out, from 0.22 on, and it is said why."""
    accepted = releases.known()[release]
    for mib, option in ((24564, "--gpu-only"), (16376, "--highvram"), (12282, "--normalvram"), (8188, "--lowvram")):
        chosen = flags.choose(case(gpu(mib=mib), release))
        assert (option in given_options(chosen)) == (option in accepted)
        if option not in accepted:
            assert option == "--normalvram"
            assert any(flag.option == option and "normal is its default" in flag.reason for flag in chosen.left_out)


@pytest.mark.parametrize("release", RELEASES)
def test_the_cpu_gets_cpu_and_nothing_of_a_gpu(release: str) -> None:
    chosen = flags.choose(case(None, release))
    assert "--cpu" in given_options(chosen)
    assert not given_options(chosen) & {"--cuda-device", "--disable-cuda-malloc", "--cuda-malloc"}
    assert chosen.environment["CUDA_VISIBLE_DEVICES"] == ""
    assert refusal(chosen, release) == ""


def test_the_index_is_given_twice_and_agrees_in_pci_order() -> None:
    chosen = flags.choose(case(gpu(index=3)))
    assert ("--cuda-device", "3") in [flag.argv for flag in chosen.flags]
    assert chosen.environment["CUDA_VISIBLE_DEVICES"] == "3"
    assert chosen.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.mark.parametrize("how", ["pin", "mig"])
def test_a_uuid_stands_in_the_environment_and_no_option_overwrites_it(how: str) -> None:
    device = gpu(index=3, uuid="MIG-1", mig=True) if how == "mig" else gpu(index=3)
    chosen = flags.choose(case(device, gpu={"pin": "uuid" if how == "pin" else "index"}))
    assert "--cuda-device" not in given_options(chosen)
    assert chosen.environment["CUDA_VISIBLE_DEVICES"] == device.uuid
    assert [flag.option for flag in chosen.left_out] == ["--cuda-device"]
    assert given_options(chosen) == given_options(flags.choose(case(gpu(index=3)))) - {"--cuda-device"}


@pytest.mark.parametrize(
    ("setting", "option"),
    [(False, "--disable-cuda-malloc"), (True, "--cuda-malloc"), ("auto", None)],
)
def test_cuda_malloc_is_off_unless_asked_for(setting: bool | str, option: str | None) -> None:
    found = given_options(flags.choose(case(gpu(), gpu={"cuda_malloc": setting})))
    assert found & {"--disable-cuda-malloc", "--cuda-malloc"} == ({option} if option else set())


@pytest.mark.parametrize(
    ("policy", "release", "option"),
    [
        ("tiers", "0.33.0", "--gpu-only"),
        ("dynamic", "0.33.0", None),
        ("dynamic", "0.16.0", None),
        ("dynamic", "0.12.0", "--gpu-only"),
        ("none", "0.12.0", None),
    ],
)
def test_the_policy_dynamic_leaves_vram_to_releases_that_manage_it(
    policy: str, release: str, option: str | None
) -> None:
    found = given_options(flags.choose(case(gpu(), release, gpu={"policy": policy})))
    assert found & set(flags.VRAM) == ({option} if option else set())


@pytest.mark.parametrize("mib", [24564, 16376])
def test_where_a_flag_switches_dynamic_vram_off_it_is_said_with_the_mend(mib: int) -> None:
    new, old = (flags.choose(case(gpu(mib=mib), release)).notes for release in ("0.16.0", "0.12.0"))
    assert any("switches dynamic VRAM off" in note and 'gpu.policy = "dynamic"' in note for note in new)
    assert not any("dynamic VRAM" in note for note in old)


def test_the_mend_is_where_the_flag_came_from() -> None:
    chosen = flags.choose(case(gpu(mib=8188), "0.33.0", comfyui={"extra_args": "--highvram"}))
    assert any(
        "--highvram switches dynamic VRAM off; without it in comfyui.extra_args" in note for note in chosen.notes
    )


class TestUsersArguments:
    """``comfyui.extra_args``: the user wins, and it is said."""

    @pytest.mark.parametrize("argument", ["--lowvram", "--novram", "--lowv"])
    def test_a_vram_flag_of_theirs_replaces_the_tiers(self, argument: str) -> None:
        chosen = flags.choose(case(gpu(), comfyui={"extra_args": [argument]}))
        assert "--gpu-only" not in given_options(chosen)
        assert refusal(chosen, "0.3.64") == ""
        assert any(flag.option == "--gpu-only" and "yours win" in flag.reason for flag in chosen.left_out)

    def test_their_allocator_replaces_ours(self) -> None:
        chosen = flags.choose(case(gpu(), comfyui={"extra_args": "--cuda-malloc"}))
        assert "--disable-cuda-malloc" not in given_options(chosen)
        assert refusal(chosen, "0.3.64") == ""

    def test_values_stay_with_their_options(self) -> None:
        chosen = flags.choose(case(gpu(), comfyui={"extra_args": "--preview-method=auto --fast a b --cache-lru 3"}))
        assert chosen.argv[-7:] == ("--preview-method", "auto", "--fast", "a", "b", "--cache-lru", "3")

    @pytest.mark.parametrize("argument", ["--port=9", "--por", "--listen", "--cuda-dev", "--enable-cors-header"])
    def test_what_has_a_setting_of_its_own_is_refused_with_its_name(self, argument: str) -> None:
        """Also when it is abbreviated, which the settings alone can't know."""
        with pytest.raises((UserError, ValueError), match=r"comfyui\.(port|listen|cors_origin)|gpu\.devices"):
            flags.choose(case(gpu(), comfyui={"extra_args": [argument]}))

    @pytest.mark.parametrize("argument", ["fast", "--"])
    def test_an_argument_that_belongs_to_no_option_is_refused(self, argument: str) -> None:
        with pytest.raises(UserError, match=f'"{argument}": expected an option'):
            flags.choose(case(gpu(), comfyui={"extra_args": [argument]}))

    def test_a_vram_flag_can_not_be_meant_together_with_the_cpu(self) -> None:
        """Dropping --cpu would start it on a GPU that was ruled out."""
        with pytest.raises(UserError, match=r"--highvram: can't be meant together with --cpu"):
            flags.choose(case(None, gpu={"devices": "cpu"}, comfyui={"extra_args": "--highvram"}))

    def test_cpu_among_their_arguments_wins_over_the_tier(self) -> None:
        chosen = flags.choose(case(gpu(), comfyui={"extra_args": "--cpu"}))
        assert given_options(chosen) & set(flags.VRAM) == {"--cpu"}


LOADS = ("--extra-model-paths-config", str(EXTENSION))
NONE, ONLY, BRIDGE = "--disable-all-custom-nodes", "--whitelist-custom-nodes", "comfy_supervisor_bridge"


class TestExtension:
    """comfy-supervisor's extension is loaded beside whatever the user has ComfyUI load, or it is said why not."""

    def argvs(self, invocation: Invocation, *options: str) -> list[tuple[str, ...]]:
        return [flag.argv for flag in invocation.flags if flag.option in options]

    def why_not(self, invocation: Invocation, option: str) -> str:
        (reason,) = [flag.reason for flag in invocation.left_out if flag.option == option]
        return reason

    @pytest.mark.parametrize("release", RELEASES)
    def test_it_is_loaded_wherever_a_job_can_be_given_back_under_its_id(self, release: str) -> None:
        chosen = flags.choose(case(gpu(), release))
        if release in ("0.3.10", "0.3.40"):
            assert not self.argvs(chosen, LOADS[0])
            assert "0.3.45 and later can" in self.why_not(chosen, LOADS[0])
        else:
            assert self.argvs(chosen, LOADS[0]) == [LOADS]
        assert not self.argvs(chosen, ONLY)

    @pytest.mark.parametrize(
        ("version", "loaded"),
        [("0.3.44", False), ("v0.3.44", False), ("0.3.45", True), ("0.3.45-3-gabc", True), ("1.0", True), ("", True)],
    )
    def test_the_first_release_is_0_3_45_and_one_that_is_unknown_is_new(self, version: str, loaded: bool) -> None:
        before = case(gpu())
        chosen = flags.choose(replace(before, accepted=replace(before.accepted, version=version)))
        assert bool(self.argvs(chosen, LOADS[0])) is loaded

    def test_a_setting_leaves_it_out(self) -> None:
        chosen = flags.choose(case(gpu(), health={"watch": False}))
        assert "no listener" in self.why_not(chosen, LOADS[0])
        chosen = flags.choose(case(gpu(), jobs={"extension": False}, comfyui={"extra_args": NONE}))
        assert not {LOADS[0], ONLY} & given_options(chosen)
        assert not {LOADS[0], ONLY} & {flag.option for flag in chosen.left_out}

    @pytest.mark.parametrize("release", RELEASES)
    @pytest.mark.parametrize("option", ["--extra-model-paths-config", "--extra-model-paths"])
    def test_their_own_folders_stand_beside_it(self, release: str, option: str) -> None:
        chosen = flags.choose(case(gpu(), release, comfyui={"extra_args": f"{option} /a.yaml /b.yaml"}))
        assert self.argvs(chosen, LOADS[0])[-1] == (LOADS[0], "/a.yaml", "/b.yaml")
        assert refusal(chosen, release) == ""
        if release not in ("0.3.10", "0.3.40"):
            assert self.argvs(chosen, LOADS[0])[0] == LOADS

    @pytest.mark.parametrize("release", [name for name in RELEASES if ONLY in releases.known()[name]])
    @pytest.mark.parametrize(
        ("theirs", "whitelists"),
        [
            ("", []),
            (f"{ONLY} a b", [(ONLY, "a", "b")]),
            (NONE, [(ONLY, BRIDGE)]),
            ("--disable-all-c", [(ONLY, BRIDGE)]),
            (f"{NONE} {ONLY} a b", [(ONLY, "a", "b", BRIDGE)]),
            (f"{ONLY} a {NONE}", [(ONLY, "a", BRIDGE)]),
            (f"{NONE} {ONLY} a --windows-standalone-build", [(ONLY, "a", BRIDGE)]),
            (f"{ONLY} a {ONLY}=b {NONE}", [(ONLY, "a"), (ONLY, "b", BRIDGE)]),
        ],
    )
    def test_it_is_let_in_where_no_custom_nodes_are(
        self, release: str, theirs: str, whitelists: list[tuple[str, ...]]
    ) -> None:
        chosen = flags.choose(case(gpu(), release, comfyui={"extra_args": theirs}))
        assert self.argvs(chosen, ONLY) == whitelists
        assert self.argvs(chosen, LOADS[0]) == [LOADS]
        assert refusal(chosen, release) == ""

    def test_that_it_was_added_to_theirs_is_said(self) -> None:
        chosen = flags.choose(case(gpu(), comfyui={"extra_args": [NONE, ONLY, "a"]}))
        assert "which it is added to" in self.why_not(chosen, ONLY)

    def test_without_a_whitelist_it_is_left_out_with_all_the_others(self) -> None:
        before = case(gpu(), "0.3.40", comfyui={"extra_args": NONE})
        chosen = flags.choose(replace(before, accepted=replace(before.accepted, version="0.3.50")))
        assert not self.argvs(chosen, LOADS[0], ONLY)
        assert self.why_not(chosen, LOADS[0]) == f"comfyui.extra_args has {NONE}, and ComfyUI 0.3.50 has no {ONLY}"
        assert self.why_not(chosen, ONLY)

    def test_on_another_machine_its_file_is_not_there(self) -> None:
        theirs = f"{NONE} {ONLY} a"
        chosen = flags.choose(case(gpu(), comfyui={"extra_args": theirs, "version": "0.3.64"}))
        assert self.argvs(chosen, LOADS[0], ONLY) == [(ONLY, "a")]
        assert "copy the file there" in self.why_not(chosen, LOADS[0])


class TestEnvironment:
    """Defaults, which settings change or remove."""

    DEFAULTS = (*flags.QUIET, "CUDA_VISIBLE_DEVICES")

    def test_the_defaults_are_there(self) -> None:
        environment = flags.choose(case(gpu())).environment
        wanted = "TQDM_DISABLE=1 PYTHONUNBUFFERED=1 DISABLE_PROGRESS_BARS=true DISABLE_AUTO_LAUNCH=true"
        wanted += " DONT_PRINT_SERVER=true PYTHONFAULTHANDLER=1 CUDA_VISIBLE_DEVICES=0"
        assert dict(pair.split("=") for pair in wanted.split()).items() <= environment.items()

    @pytest.mark.parametrize("name", DEFAULTS)
    def test_each_can_be_changed_and_removed(self, name: str) -> None:
        changed = flags.choose(case(gpu(), comfyui={"environment": {name: "mine"}})).environment
        removed = flags.choose(case(gpu(), comfyui={"environment": {name: False}})).environment
        assert changed[name] == "mine"
        assert name not in removed


class TestNotes:
    """What an operator should know of the choice."""

    def test_an_open_port_is_said(self) -> None:
        assert any("no password" in note for note in flags.choose(case(gpu(), comfyui={"listen": "0.0.0.0"})).notes)
        assert not flags.choose(case(gpu(), comfyui={"listen": "127.0.0.1,::1"})).notes

    def test_a_gpu_that_is_chosen_past_us_is_said(self) -> None:
        past = {"environment": {"CUDA_VISIBLE_DEVICES": "1"}}
        (note,) = flags.choose(case(gpu(mib=12282), comfyui=past)).notes
        assert note.startswith("comfyui.environment sets CUDA_VISIBLE_DEVICES: choose GPUs with gpu.devices")
        assert not flags.choose(case(None, comfyui=past)).notes

    def test_any_origin_is_said(self) -> None:
        chosen = flags.choose(case(gpu(), comfyui={"cors_origin": "*"}))
        assert any("origin check" in note for note in chosen.notes)
        assert ("--enable-cors-header", "*") in [flag.argv for flag in chosen.flags]


@given(
    release=st.sampled_from(RELEASES),
    mib=st.integers(1, 300_000),
    policy=st.sampled_from(["tiers", "dynamic", "none"]),
    pin=st.sampled_from(["index", "uuid"]),
    malloc=st.sampled_from([True, False, "auto"]),
    extra=st.lists(
        st.sampled_from(
            ["--highvram", "--lowvram", "--cpu", "--fast", "--cuda-malloc", "--cpu-vae", NONE, f"{ONLY}=a"]
        ),
        max_size=2,
    ),
)
def test_whatever_is_chosen_the_release_accepts_or_the_users_own_arguments_clash(
    release: str, mib: int, policy: str, pin: str, malloc: bool | str, extra: list[str]
) -> None:
    """Ours never adds a refusal: what the parser refuses, it refuses of the user's arguments alone as well."""
    options: dict[str, Any] = {"policy": policy, "pin": pin, "cuda_malloc": malloc}
    chosen = flags.choose(case(gpu(mib=mib), release, gpu=options, comfyui={"extra_args": extra}))
    (alone,) = parser.prove_record(releases.known()[release], [tuple(extra)])
    assert bool(refusal(chosen, release)) == bool(alone)


class TestShared:
    """What ``comfyui.extra_args`` gives to several instances at once."""

    @pytest.mark.parametrize(
        "extra", [["--temp-directory", "/t"], ["--temp-dir=/t"], ["--database-url", "sqlite:////d/comfyui.db"]]
    )
    def test_what_would_destroy_the_others_files_is_refused(self, extra: list[str]) -> None:
        tables: dict[str, Any] = {"comfyui": {"extra_args": extra}}
        with pytest.raises(UserError, match=r"several instances would share it, and ComfyUI.*; remove it: each gets"):
            flags.choose(case(gpu(), folders=FOLDERS, **tables))
        assert flags.choose(case(gpu(), **tables)).flags

    def test_a_database_in_memory_is_nobody_elses(self) -> None:
        extra = {"extra_args": ["--database-url", "sqlite:///:memory:"]}
        made = flags.choose(case(gpu(), folders=FOLDERS, comfyui=extra))
        assert [flag.values for flag in made.flags if flag.option == "--database-url"] == [("sqlite:///:memory:",)]

    @pytest.mark.parametrize("option", ["--output-directory", "--user-directory"])
    def test_what_only_harms_is_said(self, option: str) -> None:
        tables: dict[str, Any] = {"comfyui": {"extra_args": [option, "/shared"]}}
        (note,) = [note for note in flags.choose(case(gpu(), folders=FOLDERS, **tables)).notes if "shared" in note]
        assert note.startswith(f"{option} is shared by several instances: ")
        assert not flags.choose(case(gpu(), **tables)).notes
