"""A settings file that holds secrets is not to be open to every user."""

from __future__ import annotations

import pytest

from comfy_supervisor.doctor import secrecy
from comfy_supervisor.doctor.finding import Verdict

from .conftest import Machine, one

HELD = {
    "comfyui.environment.HF_TOKEN": {"comfyui__environment__HF_TOKEN": '"hf_x"'},
    "notify.webhook": {"notify__webhook": '"https://example.org/x"'},
    "notify.urls": {"notify__urls": '["env:URL", "slack://x/y/z"]'},
    "notify.headers.Authorization": {"notify__headers__Authorization": '"Bearer x"'},
}


@pytest.mark.parametrize("key", HELD)
def test_one_that_is_open_to_all_is_told_with_what_it_holds(key: str, box: Machine) -> None:
    box.configure(**HELD[key])
    box.file.chmod(0o644)
    found = one(secrecy.secrets(box.meet()))
    assert (found.verdict, found.mend) == (Verdict.WARNING, f"chmod o= {box.file}")
    assert found.found == f"{box.file} is open to every user of this machine, and holds {key}"
    box.file.chmod(0o640)
    assert one(secrecy.secrets(box.meet())).verdict is Verdict.OK


def test_one_without_secrets_may_be_open(box: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    box.configure(
        comfyui__environment__HF_HOME='"/x"',
        notify__webhook='"env:HOOK"',
        notify__headers__Authorization='"file:/secret"',
    )
    monkeypatch.setenv("COMFY_SUPERVISOR__COMFYUI__ENVIRONMENT__HF_TOKEN", "hf_x")
    monkeypatch.setenv("COMFY_SUPERVISOR__NOTIFY__URLS", '["slack://x/y/z"]')
    box.file.chmod(0o644)
    assert list(secrecy.secrets(box.meet())) == []
