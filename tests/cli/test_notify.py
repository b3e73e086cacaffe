"""``notify``: who is told, and whether they hear it; and where the settings of that go."""

from __future__ import annotations

import json
import stat

import pytest

from tests.cli.service import Service
from tests.notify.conftest import Ear, ear, other

__all__ = ["ear", "other"]
SECRET = "s3cret-token"


def test_each_receiver_gets_a_test_message(service: Service, ear: Ear, other: Ear) -> None:
    service.settings(notify={"webhook": ear.url, "urls": [f"json://127.0.0.1:{other.port}/{SECRET}"]})
    said = service.ok("notify", "--test")
    assert said.splitlines() == ["notify.webhook (http://…): sent", "notify.urls[0] (json://…): sent"]
    assert "test" in ear.heard[0]["subject"]
    assert "nothing has happened" in other.heard[0]["message"]


def test_one_that_fails_is_told_and_is_exit_code_1(service: Service, ear: Ear, other: Ear) -> None:
    ear.how = 500
    service.settings(notify={"webhook": ear.url, "urls": [f"json://127.0.0.1:{other.port}/{SECRET}"]})
    done = service.run("notify", "--test")
    assert done.returncode == 1
    assert "notify.webhook (http://…): HTTP 500" in done.stdout
    assert "(json://…): sent" in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_without_a_receiver_its_settings_are_named(service: Service) -> None:
    assert "set notify.webhook or notify.urls" in service.refused("notify", "--test")


def test_without_test_nothing_is_sent(service: Service, ear: Ear) -> None:
    service.settings(notify={"webhook": ear.url, "on": ["gave_up"]})
    assert service.ok("notify") == "notify.webhook (http://…)\ntold of: gave_up\n"
    assert not ear.heard


def test_what_is_secret_goes_to_one_file_that_only_its_owner_may_read(service: Service) -> None:
    service.settings(notify={"webhook": f"http://127.0.0.1:1/{SECRET}", "headers": {"X-Key": SECRET}})
    said = service.ok("render") + service.ok("render", "--stdout")
    assert SECRET not in said
    having = [path for path in service.state.rglob("*") if path.is_file() and SECRET in path.read_text()]
    assert having == [service.state / "notify.json"]
    assert stat.S_IMODE(having[0].stat().st_mode) == 0o600
    service.settings()
    service.ok("render")
    assert json.loads(having[0].read_text())["webhook"] == ""


def test_where_nobody_is_to_be_told_no_file_is_written(service: Service) -> None:
    service.ok("render")
    assert not (service.state / "notify.json").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"urls": [SECRET]}, "notify.urls = …: expected a list of apprise's URLs"),
        ({"webhook": f"ftp://{SECRET}"}, "notify.webhook = …: expected an http:// or https:// URL"),
        ({"headers": {"Bad Name": SECRET}}, "expected a header's name"),
        ({"headers": {"Key": 5}}, "notify.headers.Key = …: expected a text"),
        ({"url": SECRET}, "notify.url = …: unknown key; did you mean notify.urls?"),
        ({"on": ["restart", "nightfall"]}, 'notify.on = "nightfall": expected a list of restart, gave_up'),
        ({"collect": -1}, "notify.collect = -1: expected seconds"),
        ({"keep": 0}, "notify.keep = 0: expected a number, 1 to 1000"),
        ({"max_age": "long"}, 'notify.max_age = "long": expected seconds'),
    ],
)
def test_a_wrong_setting_is_one_line_that_shows_no_secret(
    settings: dict[str, object], said: str, service: Service
) -> None:
    written = json.dumps(settings)
    service.settings(notify={key: value for key, value in settings.items() if key != "headers"})
    if "headers" in settings:
        rows = "".join(f"{json.dumps(key)} = {json.dumps(value)}\n" for key, value in settings["headers"].items())  # type: ignore[attr-defined]
        service.file.write_text(service.file.read_text() + "[notify.headers]\n" + rows)
    found = service.refused("render")
    assert said in found, written
    assert len(found.strip().splitlines()) == 1
    assert SECRET not in found
