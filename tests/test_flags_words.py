"""What is said of the options, word for word, and the edges of the rules that choose them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from comfy_supervisor import flags
from comfy_supervisor.flags import Case, Folders
from comfy_supervisor.model import CommandLine, Gpu, Invocation
from tests.cases import case, gpu

NEW = "0.33.0"
"""A release with dynamic VRAM."""
FOLDERS = Folders(Path("/out/gpu0"), Path("/state/gpu0/user"), Path("/state/gpu0"))
OFF = 'gpu.policy = "dynamic" leaves it on'
THEIRS_OFF = "without it in comfyui.extra_args it stays on"


def chosen(device: Gpu | None = None, release: str = NEW, **tables: dict[str, Any]) -> Invocation:
    return flags.choose(case(device, release, None, **tables))


def notes(mib: int, *extra: str) -> list[str]:
    made = flags.choose(case(gpu(mib=mib), NEW, comfyui={"extra_args": list(extra)}))
    return [note for note in made.notes if "dynamic VRAM" in note]


@pytest.mark.parametrize(
    ("mib", "extra", "said"),
    [
        (24564, [], [f"--gpu-only switches dynamic VRAM off; {OFF}"]),
        (16376, [], [f"--highvram switches dynamic VRAM off; {OFF}"]),
        (12282, [], []),
        (8188, [], ["--lowvram hardly does anything while dynamic VRAM is on"]),
        (12282, ["--novram"], [f"--novram switches dynamic VRAM off; {THEIRS_OFF}"]),
        (8188, ["--gpu-only"], [f"--gpu-only switches dynamic VRAM off; {THEIRS_OFF}"]),
        (24564, ["--lowvram"], ["--lowvram hardly does anything while dynamic VRAM is on"]),
        (24564, ["--cpu-vae"], [f"--gpu-only switches dynamic VRAM off; {OFF}"]),
    ],
)
def test_it_is_said_which_flag_ends_dynamic_vram_and_whose_it_is(mib: int, extra: list[str], said: list[str]) -> None:
    assert notes(mib, *extra) == said


def test_whose_a_flag_is_does_not_depend_on_what_the_card_is_called() -> None:
    card = replace(gpu(mib=24564), name="virtual card")
    assert f"--gpu-only switches dynamic VRAM off; {OFF}" in chosen(card).notes


def test_why_it_runs_on_the_cpu_is_that_it_was_asked_to_or_that_there_is_no_gpu() -> None:
    def why(devices: Any) -> list[str]:
        return [flag.reason for flag in chosen(None, gpu={"devices": devices}).flags if flag.option == "--cpu"]

    assert why("cpu") == ['gpu.devices = "cpu"']
    assert why("auto") == ["no NVIDIA GPU in this machine"]
    assert why("all") == ["no NVIDIA GPU in this machine"]


@pytest.mark.parametrize(
    ("policy", "release", "given"),
    [
        ("tiers", NEW, True),
        ("dynamic", NEW, False),
        ("dynamic", "0.3.64", True),
        ("none", NEW, False),
        ("none", "0.3.64", False),
    ],
)
def test_a_tier_is_given_where_nothing_else_manages_the_memory(policy: str, release: str, given: bool) -> None:
    made = chosen(gpu(mib=24564), release, gpu={"policy": policy})
    assert ("--gpu-only" in {flag.option for flag in made.flags}) is given


@pytest.mark.parametrize(
    ("pin", "mig", "by_uuid"),
    [("index", False, False), ("uuid", False, True), ("index", True, True), ("uuid", True, True)],
)
def test_a_gpu_is_named_by_its_uuid_where_that_was_chosen_or_it_has_no_other_name(
    pin: str, mig: bool, by_uuid: bool
) -> None:
    one: Case = case(replace(gpu(), mig=mig), gpu={"pin": pin})
    assert one.pinned_by_uuid is by_uuid
    assert not case(None, gpu={"pin": "uuid"}).pinned_by_uuid


def accepting(version: str) -> CommandLine:
    return replace(case(gpu(), NEW).accepted, version=version)


@pytest.mark.parametrize(
    ("version", "loads"),
    [
        ("0.3.44", False),
        ("0.3.45", True),
        ("0.3.44.9", False),
        ("0.3.45.0", True),
        ("0.4.0", True),
        ("0.2.99", False),
        ("1.0.0", True),
        ("", True),
        ("nightly", True),
    ],
)
def test_the_extension_is_loaded_where_a_job_can_be_given_back_under_its_id(version: str, loads: bool) -> None:
    made = flags.choose(replace(case(gpu(), NEW), accepted=accepting(version)))
    assert (flags.LOAD in {flag.option for flag in made.flags}) is loads


def spelled(argument: str) -> str:
    """Return what an argument of the user's is taken for."""
    made = flags.choose(case(None, NEW, comfyui={"extra_args": [argument]}))
    return next(flag.option for flag in made.flags if flag.reason == flags.EXTRA)


@pytest.mark.parametrize(
    ("argument", "option"),
    [
        ("--fast", "--fast"),
        ("--verb", "--verbose"),
        ("--force-", "--force-"),
        ("--none-such", "--none-such"),
        ("--cuda-malloc", "--cuda-malloc"),
    ],
)
def test_an_abbreviation_is_spelled_out_where_it_means_one_option(argument: str, option: str) -> None:
    assert spelled(argument) == option


def test_an_option_that_is_the_beginning_of_another_means_itself() -> None:
    accepted = case(gpu(), NEW).accepted
    longer = {**accepted.options, "--fast-er": accepted.options["--fast"]}
    assert flags._spelled_out("--fast", replace(accepted, options=longer)) == "--fast"
    assert flags._spelled_out("--fast-e", replace(accepted, options=longer)) == "--fast-er"


def test_our_extension_is_let_in_by_the_last_whitelist_and_what_follows_it_stays() -> None:
    extra = [flags.NONE, flags.ONLY, "a", "--fast", "--verbose", "INFO"]
    made = chosen(gpu(), comfyui={"extra_args": extra})
    theirs = [(flag.option, flag.values) for flag in made.flags if flag.reason == flags.EXTRA]
    whitelist = (flags.ONLY, ("a", flags.EXTENSION))
    assert theirs == [(flags.NONE, ()), whitelist, ("--fast", ()), ("--verbose", ("INFO",))]


@pytest.mark.parametrize("option", sorted(flags.HARMFUL))
def test_a_folder_that_several_share_is_named_where_the_user_gave_it(option: str) -> None:
    shared = flags.choose(case(gpu(), NEW, FOLDERS, comfyui={"extra_args": [option, "/x"]}))
    (said,) = [note for note in shared.notes if "shared" in note]
    assert said.startswith(f"{option} is shared by several instances: {flags.HARMFUL[option]};")
    alone = flags.choose(case(gpu(), NEW, None, comfyui={"extra_args": [option, "/x"]}))
    assert not [note for note in alone.notes if "shared" in note]
    assert not [note for note in flags.choose(case(gpu(), NEW, FOLDERS)).notes if "shared" in note]


def test_what_the_rules_look_at_is_not_written_into() -> None:
    for value in (FOLDERS, case(gpu())):
        with pytest.raises(FrozenInstanceError):
            setattr(value, next(iter(vars(value))), None)


def test_what_a_release_lacks_is_said_with_its_number_if_it_has_one() -> None:
    fewer = {name: option for name, option in accepting("").options.items() if name != "--normalvram"}

    def why(version: str) -> str:
        accepted = replace(accepting(version), options=fewer)
        made = flags.choose(replace(case(gpu(mib=12282), NEW), accepted=accepted))
        return {flag.option: flag.reason for flag in made.left_out}["--normalvram"]

    assert why("0.99.0") == "ComfyUI 0.99.0 has no such option any more: normal is its default"
    assert why("") == "this ComfyUI has no such option any more: normal is its default"
    assert flags._unknown("--highvram", accepting("0.9.0")) == "ComfyUI 0.9.0 has no such option"
    assert flags._unknown("--zzz", accepting("0.9.0")) == "ComfyUI 0.9.0 has no such option"


def test_two_options_exclude_each_other_where_they_are_of_one_group_but_none_itself() -> None:
    accepted = case(gpu(), NEW).accepted
    assert flags._exclude_each_other("--gpu-only", "--cpu", accepted)
    assert not flags._exclude_each_other("--cpu", "".join(["--", "cpu"]), accepted)
    assert not flags._exclude_each_other("--gpu-only", "--fast", accepted)
