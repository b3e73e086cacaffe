"""ComfyUI's Python and torch, against the GPUs and their driver."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .. import fallback
from ..comfyui.pythons import installing
from ..comfyui.torch import TorchFacts, torch_facts
from ..model import Driver, GpuReport, Invocation
from . import finding
from .finding import Finding, Verdict
from .patient import Patient

DEADLINE = 60.0
"""Seconds for the import of torch: a cold disk and a slow network drive included."""

_OLDEST_PYTHON = (3, 10)
_LEAST_DRIVER = {11: "450", 12: "525", 13: "580"}
"""The oldest driver for each major release of CUDA: NVIDIA, CUDA Compatibility, Minor Version Compatibility."""
_ARCHITECTURE = re.compile(r"\b(?:compute|cuda) capability\b", re.IGNORECASE)
"""In torch's own warning that it has no code for a GPU (torch/cuda/__init__.py, _check_capability)."""


def interpreter(patient: Patient) -> Iterator[Finding]:
    """Ask ComfyUI's interpreter for its Python and torch, and judge them; takes seconds."""
    installation = patient.asked
    if installation is None:
        return
    made = patient.known_plan
    asked = environment(made.invocations if made else ())
    together = {**_own(patient), **asked}
    facts = torch_facts(installation, deadline=DEADLINE, environment=together, account=patient.account)
    yield from python(facts)
    if note := fallback.python_note(patient.loaded, installation, patient.environ):
        yield finding.stated("python", Verdict.WARNING, note)
    if facts.python or not isinstance(patient.accepted, Exception):  # else the trouble is Python's, and was told
        yield from torch(facts, installation.python, gpus=len(_devices(asked)))
    if _devices(asked) and facts.cuda:
        yield from cuda(facts, patient.report)


def environment(invocations: Sequence[Invocation]) -> Mapping[str, str]:
    """Return the environment that shows torch all GPUs at once that the instances have; none if they have none.

    Of MIG instances only the first: CUDA shows a process no more than one.
    """
    names = [found for one in invocations if (found := one.environment.get("CUDA_VISIBLE_DEVICES"))]
    visible = next((name for name in names if name.startswith("MIG-")), ",".join(names))
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": visible}


def python(facts: TorchFacts) -> Iterator[Finding]:
    """Judge the interpreter's version."""
    wanted = "3.10 or later"
    if not facts.python:
        return
    if _numbers(facts.python) >= _OLDEST_PYTHON:
        yield finding.ok("python", facts.python, wanted)
    else:
        mend = "set comfyui.python to a newer one, with ComfyUI's requirements installed"
        yield finding.problem("python", f"{facts.python}, too old for ComfyUI", wanted, mend)


def torch(facts: TorchFacts, interpreter: Path, gpus: int) -> Iterator[Finding]:
    """Judge torch: that it is there, and sees as many GPUs as there are instances on one (0: all on the CPU)."""
    wanted = "torch with CUDA" if gpus else "torch"
    if not facts.torch:
        mend = f"{installing(interpreter)}, in ComfyUI's folder"
        yield finding.problem("torch", f"can't be imported: {facts.error}", wanted, mend)
        return
    if gpus and not facts.cuda:
        mend = f"replace it, in {interpreter}, by a build with CUDA (pytorch.org, Get Started)"
        yield finding.problem("torch", f"{facts.torch}, built without CUDA", wanted, mend)
        return
    yield finding.ok("torch", f"{facts.torch}, {f'CUDA {facts.cuda}' if facts.cuda else 'without CUDA'}", wanted)
    if gpus:
        yield _sight(facts, gpus)


def _sight(facts: TorchFacts, gpus: int) -> Finding:
    """Judge whether torch can use the GPUs, by its own word."""
    check, wanted = "torch-gpu", f"{gpus} GPU{'s' * (gpus > 1)} that torch can use"
    if not facts.cuda_available:
        mend = "see what is said of the driver; in a container, pass the GPU in"
        return finding.problem(check, f"torch can't use the GPU: {facts.error or 'it does not say why'}", wanted, mend)
    if _ARCHITECTURE.search(facts.error):
        mend = "install a torch that is built for this GPU (pytorch.org, Get Started)"
        return finding.problem(check, facts.error, f"one of {', '.join(facts.arch_list)}", mend)
    if facts.device_count < gpus:
        mend = "look for Xid lines in dmesg; in a container, pass all GPUs in"
        return finding.problem(check, f"torch sees {facts.device_count} of {gpus} GPUs", wanted, mend)
    if len(facts.device_names) < facts.device_count:
        return finding.problem(check, facts.error, wanted, "look for Xid lines in dmesg")
    if facts.error:
        return finding.warning(check, facts.error, wanted, "see what torch means; it can use the GPU")
    return finding.ok(check, f"torch sees {', '.join(facts.device_names)}", wanted)


def cuda(facts: TorchFacts, report: GpuReport) -> Iterator[Finding]:
    """Judge the driver's CUDA against torch's.

    Within a major release of CUDA, 11 and later, an older driver will do, but not for kernels that are compiled
    while running (PTX); an older major release only with a forward compatibility package. Source: NVIDIA, CUDA
    Compatibility.
    """
    theirs, ours = _numbers(facts.cuda), _numbers(report.cuda_version)
    if report.driver is not Driver.OK or not theirs or not ours:
        return
    found = f"driver {report.driver_version} speaks CUDA {report.cuda_version}, torch was built for {facts.cuda}"
    wanted = f"a driver that speaks CUDA {facts.cuda}"
    least = _LEAST_DRIVER.get(theirs[0], "")
    update = f"update the NVIDIA driver{f' (to {least} or later)' if least else ''}"
    if ours >= theirs:
        yield finding.ok("cuda", found, wanted)
    elif ours[0] == theirs[0] or facts.cuda_available:
        mend = (
            "update the NVIDIA driver before custom nodes need kernels compiled while running (triton, torch.compile)"
        )
        yield finding.warning("cuda", found, wanted, mend)
    else:
        yield finding.problem("cuda", found, wanted, f"{update}, or install a torch built for CUDA {ours[0]}")


def _own(patient: Patient) -> dict[str, str]:
    """Return the variables that the settings set for ComfyUI."""
    return {name: value for name, value in patient.loaded.settings.comfyui.environment.items() if value is not False}


def _devices(environment: Mapping[str, str]) -> list[str]:
    return [name for name in environment["CUDA_VISIBLE_DEVICES"].split(",") if name]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
