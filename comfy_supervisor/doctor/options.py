"""ComfyUI's options: that it accepts them, and whether they get along with the GPU and the environment."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

from ..model import Instance, Invocation
from . import finding
from .finding import Finding
from .patient import Patient

ALLOCATOR = "PYTORCH_CUDA_ALLOC_CONF"
ASYNC = "cudaMallocAsync"
_LARGER = ("lowvram", "normalvram", "highvram", "gpu-only")
"""The tiers, by the memory that a GPU must have for them."""


def flags(patient: Patient) -> Iterator[Finding]:
    """Show the options that were proved, and those left out, each with its reason."""
    made = patient.known_plan
    if not made:
        return
    for instance, invocation in zip(made.instances, made.invocations, strict=True):
        argv = shlex.join(invocation.argv)
        yield finding.ok("flags", f"{instance.program}: {argv}", f"options that {made.facts.accepted.source} accepts")
    left_out = {" ".join(flag.argv): flag.reason for one in made.invocations for flag in one.left_out}
    for argv, reason in left_out.items():
        yield finding.ok("left-out", f"{argv}: {reason}")


def combinations(patient: Patient) -> Iterator[Finding]:
    """Look for options and variables that are known not to get along."""
    made = patient.known_plan
    pairs = zip(made.instances, made.invocations, strict=True) if made else ()
    found = [one for pair in pairs if pair[0].gpu for one in conflicts(*pair, patient.environ)]
    yield from dict.fromkeys(found)
    if made and not found:
        yield finding.ok("combination", "none that is known to be bad")


def conflicts(instance: Instance, invocation: Invocation, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is known to be bad; ``environ`` is what ComfyUI inherits beside the variables set for it."""
    yield from allocator(invocation, environ)
    yield from too_large(instance, invocation)


def allocator(invocation: Invocation, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Find two allocators at once, which ends ComfyUI at its start with an INTERNAL ASSERT of torch's.

    Unless told --disable-cuda-malloc, ComfyUI appends backend:cudaMallocAsync to PYTORCH_CUDA_ALLOC_CONF
    (cuda_malloc.py, 0.3.10 to 0.33). When it is loaded torch takes the first backend, later it reads all of them
    and insists on that one (c10/cuda/CUDACachingAllocator.cpp, parseEnvForBackend; CUDAAllocatorConfig.cpp,
    parseAllocatorConfig; torch 2.1 and later).
    """
    own = ALLOCATOR in invocation.environment
    conf = invocation.environment.get(ALLOCATOR, environ.get(ALLOCATOR, ""))
    origin = f"comfyui.environment.{ALLOCATOR}" if own else f"{ALLOCATOR} in the environment that supervisord inherits"
    disabled = any(flag.option == "--disable-cuda-malloc" for flag in invocation.flags)
    named = backends(conf)
    meant = [*named, *([] if disabled or not named else [ASYNC])]
    if len(set(meant)) > 1:
        added = "" if disabled else f", and ComfyUI adds {ASYNC}"
        mend = f"remove backend: from it{'' if disabled else ', or set gpu.cuda_malloc = false'}"
        yield finding.problem("combination", f"{origin} has {conf}{added}", "one allocator", mend)
    elif disabled and ASYNC in named:
        found = f"{origin} has {conf}: it wins over --disable-cuda-malloc (gpu.cuda_malloc = false)"
        yield finding.warning(
            "combination", found, "one will", "remove backend: from it, or set gpu.cuda_malloc = true"
        )


def backends(conf: str) -> list[str]:
    """Return the allocators that a PYTORCH_CUDA_ALLOC_CONF names, split as torch splits it."""
    pairs = (re.split(r":+", option) for option in re.split(r"[\s,]+", conf))
    return [pair[1] for pair in pairs if len(pair) > 1 and pair[0] == "backend"]


def too_large(instance: Instance, invocation: Invocation) -> Iterator[Finding]:
    """Find a VRAM option of the user's that wants a larger GPU.

    --highvram keeps models in the GPU's memory, --gpu-only text encoders and all else too (comfy/cli_args.py): the
    first model that does not fit ends in an OutOfMemoryError.
    """
    gpu, tier = instance.gpu, invocation.tier
    for flag in invocation.flags:
        name = flag.option.removeprefix("--")
        if gpu and name in _LARGER and tier in _LARGER and _LARGER.index(name) > _LARGER.index(tier):
            found = f"{flag.option} on {gpu.name}, {gpu.nominal_gb} GB: large models won't fit"
            yield finding.warning(
                "combination", found, f"the tier {tier}", f"remove {flag.option} from comfyui.extra_args"
            )
