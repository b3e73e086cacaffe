"""Which GPU an instance's figures are taken from."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_supervisor import status
from comfy_supervisor.model import GpuUse
from comfy_supervisor.rendered import Rendered

USES = {
    use.uuid: use
    for use in (GpuUse("MIG-a", 1, 10, None), GpuUse("GPU-1", 2, 20, 5, index=1), GpuUse("GPU-2", 3, 30, 6, index=2))
}
"""GPU 0 is in MIG mode, and there may be lost ones that NVML says nothing of."""


@pytest.mark.parametrize(("pinned", "found"), [("1", "GPU-1"), ("2", "GPU-2"), ("GPU-2", "GPU-2"), ("MIG-a", "MIG-a")])
def test_the_pinned_gpu_is_found_by_index_or_uuid(pinned: str, found: str) -> None:
    assert status._use(instance(pinned), USES) == USES[found]


@pytest.mark.parametrize("pinned", ["", "0", "7", "GPU-gone"])
def test_no_other_gpu_is_shown_instead(pinned: str) -> None:
    assert status._use(instance(pinned), USES) is None


def instance(pinned: str) -> Rendered:
    folder = Path("/x")
    return Rendered("comfyui", "gpu0", ("127.0.0.1:8188",), folder, folder, folder / "log", pinned)
