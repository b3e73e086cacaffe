"""Alerts that go through apprise need it."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec

import pytest

from comfy_supervisor.doctor import alerts
from comfy_supervisor.doctor.finding import Verdict

from .conftest import Machine, one


def test_apprise_is_missed_only_where_something_is_to_go_through_it(
    box: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec

    def without_apprise(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "apprise" else real(name, package)

    box.configure(notify__webhook='"https://example.org/x"')
    monkeypatch.setattr(importlib.util, "find_spec", without_apprise)
    assert list(alerts.apprise(box.meet())) == []
    box.configure(notify__urls='["ntfys://ntfy.sh/x"]')
    found = one(alerts.apprise(box.meet()))
    assert (found.verdict, found.mend) == (Verdict.PROBLEM, "pip install comfy-supervisor[notify]")
    monkeypatch.setattr(importlib.util, "find_spec", real)
    assert one(alerts.apprise(box.meet())).verdict is Verdict.OK
