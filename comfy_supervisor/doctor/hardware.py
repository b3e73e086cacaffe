"""The driver, the GPUs, and what runs on them."""

from __future__ import annotations

from collections.abc import Iterator

from ..instances import CPU
from ..model import Driver, GpuState, Instance, Invocation
from . import finding
from .finding import Finding, Verdict
from .patient import Patient


def driver(patient: Patient) -> Iterator[Finding]:
    """Judge the state of NVIDIA's driver."""
    report, wanted = patient.report, "a driver that works, or none where there is no GPU"
    if patient.loaded.settings.gpu.devices == CPU:
        yield finding.ok("driver", 'not looked at: gpu.devices = "cpu"', wanted)
    elif report.driver is Driver.NO_HARDWARE:
        yield finding.ok("driver", report.text, wanted)
    elif report.driver is Driver.OK:
        count = f"{len(report.gpus)} GPU{'s' * (len(report.gpus) != 1)}"
        yield finding.ok("driver", f"NVIDIA {report.driver_version}, CUDA up to {report.cuda_version}; {count}", wanted)
    else:
        mend = 'as it says; to run on the CPU all the same: gpu.devices = "cpu"'
        yield finding.problem("driver", report.text, wanted, mend)


def gpus(patient: Patient) -> Iterator[Finding]:
    """Name each GPU that can't be used; the others go on without it."""
    for gpu in patient.report.gpus:
        if gpu.state is not GpuState.OK:
            name = " ".join(filter(None, (f"GPU {gpu.index}", gpu.name, gpu.uuid or gpu.pci)))
            mend = "as it says; comfy-supervisor gpus shows all of them"
            yield finding.warning("gpu", f"{name}: {gpu.problem}", "a GPU that works", mend)


def instances(patient: Patient) -> Iterator[Finding]:
    """Tell what is to run where, and what of it can't be meant or proved."""
    if isinstance(patient.plan, Exception):
        yield from finding.failure("instance", patient.plan)
    made = patient.known_plan
    if made:
        for instance, invocation in zip(made.instances, made.invocations, strict=True):
            yield finding.ok("instance", f"{instance.program}: {_place(instance, invocation)}, port {instance.port}")


def notes(patient: Patient) -> Iterator[Finding]:
    """Pass on what an operator should know of the choice."""
    for note in patient.known_plan.notes if patient.known_plan else ():
        yield finding.stated("note", Verdict.WARNING, note)


def _place(instance: Instance, invocation: Invocation) -> str:
    gpu = instance.gpu
    return f"GPU {gpu.index}, {gpu.name}, {gpu.nominal_gb} GB, tier {invocation.tier}" if gpu else "the CPU"
