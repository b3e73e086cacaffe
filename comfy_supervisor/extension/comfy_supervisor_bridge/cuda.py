"""What a failed job's error says of the CUDA context that it ran in. Pure."""

from __future__ import annotations

import re

_STICKY = (
    "an illegal memory access was encountered",  # cudaErrorIllegalAddress
    "the launch timed out and was terminated",  # cudaErrorLaunchTimeout
    "device-side assert triggered",  # cudaErrorAssert
    "hardware stack error",
    "an illegal instruction was encountered",
    "misaligned address",
    "operation not supported on global/shared address space",  # cudaErrorInvalidAddressSpace
    "invalid program counter",  # cudaErrorInvalidPc
    "unspecified launch failure",  # cudaErrorLaunchFailure
    "tensor memory not completely freed",  # cudaErrorTensorMemoryLeak
    "Invalid access of peer GPU memory over nvlink or a hardware error",  # cudaErrorContained
    "the MPS client has been terminated",  # cudaErrorMpsClientTerminated
    "uncorrectable ECC error encountered",
    "uncorrectable NVLink error detected",
)
"""In the words of ``cudaGetErrorString``.

Of all but the last two, CUDA's reference (Runtime API, Data types, ``cudaError``) says that the process "must be
terminated and relaunched". The last two say that data was lost in a way that the hardware could not mend.
"""
_STICKY_NAMES = (
    "IllegalAddress",
    "LaunchTimeout",
    "Assert",
    "HardwareStackError",
    "IllegalInstruction",
    "MisalignedAddress",
    "InvalidAddressSpace",
    "InvalidPc",
    "LaunchFailure",
    "TensorMemoryLeak",
    "Contained",
    "MpsClientTerminated",
    "ExternalDevice",
    "ECCUncorrectable",
    "NvlinkUncorrectable",
)
"""The same in their names, as libraries other than torch give them: ``cudaErrorIllegalAddress``."""

_IS_STICKY = re.compile(
    rf"(?:CUDA|HIP)[^\n]*?: *(?:{'|'.join(map(re.escape, _STICKY))})|cudaError(?:{'|'.join(_STICKY_NAMES)})\b"
)
_IS_CUDA = re.compile(
    r"(?:CUDA|HIP)(?: driver)? error|Triton Error \[CUDA\]|cudaError|\b(?:CUBLAS|CUDNN|CUSOLVER)_STATUS"
)
_IS_MEMORY = re.compile(r"out of memory|_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation")


def kind(exception: str, message: str) -> str:
    """Return how a job failed, from the name of its exception's type and from its message.

    ``sticky``: every use of the context will fail from now on; ``cuda``: this one did; ``other``.
    """
    if "OutOfMemory" in exception or _IS_MEMORY.search(message):
        return "other"  # ComfyUI unloads its models, and the next job often works
    if _IS_STICKY.search(message):
        return "sticky"
    return "cuda" if _IS_CUDA.search(message) else "other"
