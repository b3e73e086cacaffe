"""Options and variables that get along, or don't."""

from __future__ import annotations

import pytest

from comfy_supervisor.doctor import hardware, options
from comfy_supervisor.doctor.finding import Finding, Verdict

from .conftest import Machine, one

VARIABLE = options.ALLOCATOR
NATIVE, ASYNC = "backend:native", "backend:cudaMallocAsync"


def combinations(box: Machine, card: str = "NVIDIA GeForce RTX 4070") -> list[Finding]:
    box.nvml.cards([card])
    return list(options.combinations(box.meet()))


def test_flags_are_shown_with_what_proved_them(box: Machine) -> None:
    box.nvml.cards(["NVIDIA GeForce RTX 4090"])
    flags, *left_out = options.flags(box.meet())
    assert flags.found == (
        f"comfyui: --listen 127.0.0.1 --port {box.port} --cuda-device 0 --gpu-only --disable-cuda-malloc "
        "--disable-auto-launch"
    )
    assert str(box.comfyui / "comfy" / "cli_args.py") in flags.wanted
    assert [one.found for one in left_out] == [
        f"{argv}: ComfyUI 0.3.64 has no such option"
        for argv in ("--dont-print-server", f"--extra-model-paths-config {box.state}/extension.yaml")
    ]


def test_nothing_bad(box: Machine) -> None:
    assert one(combinations(box)).verdict is Verdict.OK


@pytest.mark.parametrize("where", ["settings", "inherited"])
@pytest.mark.parametrize(
    ("cuda_malloc", "conf", "verdict"),
    [
        ("true", NATIVE, Verdict.PROBLEM),
        ('"auto"', NATIVE, Verdict.PROBLEM),
        ("false", NATIVE, Verdict.OK),
        ("true", ASYNC, Verdict.OK),
        ("true", "expandable_segments:True", Verdict.OK),
        ("false", ASYNC, Verdict.WARNING),
        ("false", f"{NATIVE},{ASYNC}", Verdict.PROBLEM),
    ],
)
def test_allocators(
    box: Machine, monkeypatch: pytest.MonkeyPatch, where: str, cuda_malloc: str, conf: str, verdict: Verdict
) -> None:
    box.configure(gpu__cuda_malloc=cuda_malloc)
    if where == "settings":
        box.configure(comfyui__environment=f'{{{VARIABLE} = "{conf}"}}')
    else:
        monkeypatch.setenv(VARIABLE, conf)
    found = one(combinations(box))
    assert found.verdict is verdict
    if verdict is not Verdict.OK:
        assert conf in found.found
        assert ("comfyui.environment" if where == "settings" else "inherits") in found.found
        assert "remove backend:" in found.mend


def test_a_variable_of_the_settings_wins_over_an_inherited_one(box: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, NATIVE)
    box.configure(gpu__cuda_malloc="true", comfyui__environment=f'{{{VARIABLE} = "{ASYNC}"}}')
    assert one(combinations(box)).verdict is Verdict.OK


def test_allocators_are_nothing_to_the_cpu(box: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f"{NATIVE},{ASYNC}")
    assert one(options.combinations(box.meet())).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("card", "verdict"), [("NVIDIA GeForce RTX 4070", Verdict.WARNING), ("NVIDIA GeForce RTX 4090", Verdict.OK)]
)
def test_option_that_wants_a_larger_gpu(box: Machine, card: str, verdict: Verdict) -> None:
    box.configure(comfyui__extra_args='["--highvram"]')
    found = one(combinations(box, card))
    assert found.verdict is verdict
    assert (
        verdict is Verdict.OK or found.found == "--highvram on NVIDIA GeForce RTX 4070, 12 GB: large models won't fit"
    )


def test_backends() -> None:
    assert options.backends("max_split_size_mb:128, backend:native") == ["native"]
    assert options.backends("") == []


@pytest.mark.parametrize(("option", "check"), [("--temp-directory", "instance"), ("--output-directory", "note")])
def test_what_several_instances_would_share(box: Machine, option: str, check: str) -> None:
    box.nvml.cards(["NVIDIA GeForce RTX 4090"] * 2)
    box.configure(gpu__devices='"all"', comfyui__extra_args=f'["{option}", "/shared"]')
    patient = box.meet()
    (found,) = [each for each in (*hardware.instances(patient), *hardware.notes(patient)) if option in each.found]
    assert (found.check, found.verdict is Verdict.PROBLEM) == (check, check == "instance")
