"""The other tests here are run against a real ComfyUI too, if there is one."""

from __future__ import annotations

from tests.contract.conftest import kinds
from tests.support import needs_comfyui


@needs_comfyui
def test_a_real_comfyui_is_among_those_tested() -> None:
    assert [kind for kind in kinds() if kind.real]
