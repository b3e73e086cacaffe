"""Known failures: found in a log's last line, and nowhere else."""

from __future__ import annotations

import pytest

from comfy_supervisor import catalogue

LAST_LINES = {
    "main.py: error: argument --cpu: not allowed with argument --gpu-only": "flag_conflict",
    "main.py: error: unrecognized arguments: --normalvram": "flag_unknown",
    "RuntimeError: config[i] == get()->name() INTERNAL ASSERT FAILED at CUDAAllocatorConfig.h": "allocator_conflict",
    "RuntimeError: Allocator backend parsed at runtime != allocator backend parsed at load time": "allocator_conflict",
    "OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', 8188)": "port_in_use",
    "Port 8188 is already in use on address 127.0.0.1": "port_in_use",
    "AssertionError: Torch not compiled with CUDA enabled": "no_cuda_torch",
    "RuntimeError: Found no NVIDIA driver on your system.": "driver_mismatch",
    "ModuleNotFoundError: No module named 'torchsde'": "missing_module",
}


@pytest.mark.parametrize(("line", "cause"), LAST_LINES.items())
def test_what_the_next_start_would_fail_of_too(line: str, cause: str) -> None:
    found, explanation = catalogue.configuration_fault(f"Traceback (most recent call last):\n  File …\n{line}\n")
    assert found == cause
    assert explanation.startswith(f"{line}: ")
    assert len(explanation) > len(line) + 20


@pytest.mark.parametrize("log", ["", "\n\n", "got prompt", "RuntimeError: something new", "Killed"])
def test_what_is_not_known_may_go_well_the_next_time(log: str) -> None:
    assert catalogue.configuration_fault(log) == ("", "")


def test_a_custom_node_that_could_not_be_imported_is_not_why_it_ended() -> None:
    log = "ModuleNotFoundError: No module named 'insightface'\nStarting server\n"
    assert catalogue.configuration_fault(log) == ("", "")
