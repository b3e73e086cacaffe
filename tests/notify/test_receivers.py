"""One message to real receivers, by the webhook and by apprise."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_supervisor.notify import receivers
from comfy_supervisor.notify.config import Receiver, masked
from comfy_supervisor.notify.message import Message
from comfy_supervisor.notify.receivers import send
from tests.notify.conftest import Ear

MESSAGE = Message("box: comfyui restarted (stalled)", "why: it stood still", "box", ({"kind": "restart"},))
needs_apprise = pytest.mark.skipif(
    importlib.util.find_spec("apprise") is None, reason="needs apprise: the extra notify"
)


def test_the_webhook_gets_it_as_json(ear: Ear) -> None:
    assert send(ear.receiver, MESSAGE, {}) == ""
    assert ear.heard == [{"v": 1, **json.loads(json.dumps(vars(MESSAGE)))}]
    assert ear.headers[0]["Content-Type"] == "application/json"


def test_headers_and_secrets_come_from_where_the_settings_say(ear: Ear, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(f"{ear.url}\n")
    file.chmod(0o600)
    headers = {"Authorization": "env:TOKEN", "X-Plain": "plain"}
    receiver = Receiver("notify.webhook", f"file:{file}", headers)
    assert send(receiver, MESSAGE, {"TOKEN": "Bearer abc"}) == ""
    assert (ear.headers[0]["Authorization"], ear.headers[0]["X-Plain"]) == ("Bearer abc", "plain")
    assert "TOKEN isn't set" in send(receiver, MESSAGE, {})
    file.chmod(0o640)
    assert "others may read it; chmod 600" in send(receiver, MESSAGE, {"TOKEN": "x"})
    assert len(ear.heard) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
def test_a_refusal_is_told(status: int, ear: Ear) -> None:
    ear.how = status
    assert send(ear.receiver, MESSAGE, {}) == f"HTTP {status}"


@pytest.mark.parametrize("by", ["webhook", pytest.param("apprise", marks=needs_apprise)])
@pytest.mark.parametrize("status", [302, 307, 308])
def test_a_redirect_takes_no_secret_elsewhere(status: int, by: str, ear: Ear, other: Ear) -> None:
    ear.how, ear.location = status, other.url
    receiver = ear.receiver if by == "webhook" else ear.apprise
    assert f"HTTP {status}" in send(receiver, MESSAGE, {})
    assert len(ear.heard) == 1
    assert not other.headers


@pytest.mark.parametrize("how", ["hangs", "slow"])
def test_who_hangs_is_given_up(how: str, ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "DEADLINE", 0.5)
    ear.how = how
    began = time.monotonic()
    assert "no whole answer" in send(ear.receiver, MESSAGE, {})
    assert time.monotonic() - began < 5


def test_who_is_not_there_is_told(nobody: Receiver) -> None:
    assert send(nobody, MESSAGE, {}) == "nobody listens there"
    assert "name can't be found" in send(replace(nobody, url="http://nowhere.invalid/x"), MESSAGE, {})


@needs_apprise
class TestApprise:
    def test_its_own_json_arrives(self, ear: Ear) -> None:
        assert send(ear.apprise, MESSAGE, {}) == ""
        assert (ear.heard[0]["title"], ear.heard[0]["message"]) == (MESSAGE.subject, MESSAGE.text)

    def test_a_refusal_is_told_with_its_status(self, ear: Ear) -> None:
        ear.how = 500
        assert send(ear.apprise, MESSAGE, {}) == "HTTP 500"

    def test_what_it_does_not_understand_is_told(self) -> None:
        said = send(Receiver("notify.urls[0]", "nosuchthing://s3cret"), MESSAGE, {})
        assert said == "apprise doesn't understand this URL"

    def test_who_hangs_is_given_up(self, ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(receivers, "APPRISE_DEADLINE", 3.0)
        ear.how = "hangs"
        began = time.monotonic()
        assert send(ear.apprise, MESSAGE, {})
        assert time.monotonic() - began < 20

    def test_a_secret_is_in_no_argument_and_no_environment(self, ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[str] = []
        real = subprocess.Popen

        def watched(argv: list[str], **options: Any) -> Any:
            seen.extend([*argv, *os.environ.values()])
            assert "env" not in options
            return real(argv, **options)

        monkeypatch.setattr(subprocess, "Popen", watched)
        assert send(ear.apprise, MESSAGE, {}) == ""
        assert seen
        assert not any("s3cret" in each for each in seen)


def test_without_apprise_its_extra_is_named(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert send(ear.apprise, MESSAGE, {}) == receivers.MISSING
    assert "pip install comfy-supervisor[notify]" in receivers.MISSING
    assert send(ear.receiver, MESSAGE, {}) == ""


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("slack://T0/B0/s3cret", "slack://…"),
        ("mailto:user:s3cret@host", "mailto://…"),
        ("https://s3cret@host/s3cret?k=s3cret", "https://…"),
        ("s3cret", "…"),
        ("env:NAME", "env:NAME"),
    ],
)
def test_of_a_url_only_the_scheme_is_shown(url: str, shown: str) -> None:
    assert masked(url) == shown
    assert "s3cret" not in repr(Receiver("notify.urls[0]", url, {"A": "s3cret"}))
