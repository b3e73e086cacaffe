"""The thread that tells, with real receivers and a real folder."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_supervisor.notify import collect, config
from comfy_supervisor.notify.config import Config
from comfy_supervisor.notify.message import Event, Kind
from comfy_supervisor.notify.sender import Sender
from tests.notify.conftest import Ear
from tests.support import free_port, wait_until

SECRET = "s3cret"


class Post:
    """A state folder with settings, and the senders that work in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outbox = folder / "notify"
        self.said: list[str] = []
        self.senders: list[Sender] = []

    def configure(self, **settings: Any) -> None:
        settings = {"collect": 0.2, **settings}
        (self.folder / "new").write_text(config.text(Config(**settings)))
        (self.folder / "new").replace(self.folder / config.FILE)

    def start(self) -> Sender:
        sender = Sender(self.folder, "box", self.said.append)
        self.senders.append(sender)
        sender.start()
        return sender

    def files(self) -> list[str]:
        return sorted(path.name for path in self.outbox.iterdir()) if self.outbox.is_dir() else []

    def written(self) -> str:
        text = ""
        for path in self.outbox.glob("*.json"):
            with suppress(FileNotFoundError):
                text += path.read_text()
        return text


@pytest.fixture
def post(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Post]:
    monkeypatch.setattr(collect, "_FIRST", 0.1)
    post = Post(tmp_path)
    yield post
    for sender in post.senders:
        sender.end()
    assert SECRET not in "".join(post.said)
    assert "our own error" not in "".join(post.said)


def event(kind: Kind = Kind.RESTART, instance: str = "comfyui", **values: Any) -> Event:
    return Event(kind, instance, time.time(), **{"why": "it stood still", "cause": "stalled", **values})


def test_one_event_is_one_message(post: Post, ear: Ear) -> None:
    post.configure(webhook=ear.url)
    post.start().tell(event(then="comfy-supervisor status"))
    (message,) = ear.wait_for(1)
    assert message["subject"] == "box: comfyui restarted (stalled)"
    assert "why:  it stood still" in message["text"]
    assert "next: comfy-supervisor status" in message["text"]
    wait_until(lambda: not post.files())


def test_a_message_waits_for_the_incident_that_it_tells_of_but_not_for_ever(
    post: Post, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    post.configure(webhook=ear.url, collect=0.1)
    sender = post.start()
    asked: list[Event] = []

    def explain(told: Event) -> Event | None:
        asked.append(told)
        return replace(told, incident="20261129T100000Z-cpu-stalled") if len(asked) > 3 else None

    sender.explain = explain
    sender.tell(event(life="boot 7 1.0"))
    (message,) = ear.wait_for(1)
    assert "incidents show 20261129T100000Z-cpu-stalled" in message["text"]
    assert len(asked) == 4
    monkeypatch.setattr("comfy_supervisor.notify.sender.INCIDENT", 0.5)
    sender.explain = lambda _: None
    sender.tell(event(life="boot 7 1.0"))
    assert "incident" in ear.wait_for(2)[1]["events"][0]


def test_a_storm_is_one_message(post: Post, ear: Ear) -> None:
    post.configure(webhook=ear.url, collect=1.0)
    sender = post.start()
    for number in range(500):
        sender.tell(event(instance=f"comfyui:gpu{number % 4}"))
    (message,) = ear.wait_for(1)
    assert sum(each["count"] for each in message["events"]) == 500
    assert "4 instances" in message["subject"]
    sender.tell(event(Kind.RECOVERY))
    assert len(ear.wait_for(2)) == 2


def test_what_nobody_wants_to_hear_is_not_told(post: Post, ear: Ear) -> None:
    post.configure(webhook=ear.url, on=("gave_up",))
    sender = post.start()
    sender.tell(event(Kind.RESTART))
    sender.tell(event(Kind.GAVE_UP))
    (message,) = ear.wait_for(1)
    assert [each["kind"] for each in message["events"]] == ["gave_up"]


def test_a_receiver_that_is_dead_gets_it_later_also_from_the_next_sender(post: Post) -> None:
    port = free_port()
    post.configure(webhook=f"http://127.0.0.1:{port}/{SECRET}")
    first = post.start()
    first.tell(event())
    wait_until(lambda: any("can't be told (nobody listens there)" in line for line in post.said))
    first.end()
    (name,) = wait_until(lambda: post.files() if len(post.files()) == 1 else [])
    assert stat.S_IMODE((post.outbox / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(post.outbox.stat().st_mode) == 0o700
    assert SECRET not in post.written()
    late = Ear(port)
    try:
        post.start()
        late.wait_for(1)
        wait_until(lambda: not post.files())
    finally:
        late.close()


def test_what_was_being_gathered_is_told_by_the_next_sender(post: Post, ear: Ear) -> None:
    post.configure(webhook=ear.url, collect=30)
    first = post.start()
    first.tell(event())
    wait_until(lambda: post.files() == ["collecting.json"])
    first.end()
    post.configure(webhook=ear.url, collect=0.1)
    post.start()
    assert len(ear.wait_for(1)[0]["events"]) == 1
    wait_until(lambda: not post.files())


def test_a_receiver_that_hangs_delays_no_other_for_long_and_nobody_who_tells(post: Post, ear: Ear, other: Ear) -> None:
    other.how = "hangs"
    post.configure(webhook=ear.url, urls=(f"json://127.0.0.1:{other.port}/",))
    sender = post.start()
    sender.tell(event())
    ear.wait_for(1)
    other.wait_for(1)
    began = time.monotonic()
    for _ in range(5000):
        sender.tell(event())
    assert time.monotonic() - began < 1.0


def test_one_that_failed_does_not_get_it_twice_at_the_other(post: Post, ear: Ear) -> None:
    ear.how = 500
    post.configure(webhook=ear.url)
    post.start().tell(event())
    ear.wait_for(3)
    ear.how = 200
    wait_until(lambda: not post.files())
    told = len(ear.heard)
    wait_until(lambda: any("can be told again" in line for line in post.said))
    assert len(ear.heard) == told
    assert sum("can't be told" in line for line in post.said) == 1


def test_what_is_kept_is_bounded_in_number_and_age(post: Post) -> None:
    dead = f"http://127.0.0.1:{free_port()}/{SECRET}"
    post.configure(webhook=dead, keep=3, collect=0.0)
    sender = post.start()
    for number in range(6):
        sender.tell(event(cause=f"cause{number}"))
        wait_until(lambda number=number: f"cause{number}" in post.written())  # type: ignore[misc]
    wait_until(lambda: len(post.files()) == 3)
    post.configure(webhook=dead, max_age=0.001)
    wait_until(lambda: not post.files())
    assert any("given up after" in line for line in post.said)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_without_a_permission_it_is_told_all_the_same(post: Post, ear: Ear) -> None:
    post.configure(webhook=ear.url)
    post.folder.chmod(0o500)
    post.start().tell(event())
    ear.wait_for(1)
    post.folder.chmod(0o700)


def test_a_folder_that_can_not_be_made_costs_one_line(post: Post, ear: Ear) -> None:
    post.configure(webhook=ear.url)
    post.outbox.write_text("a file is in the way")
    sender = post.start()
    sender.tell(event())
    ear.wait_for(1)
    sender.tell(event(cause="another"))
    ear.wait_for(2)
    assert sum("can't be written" in line for line in post.said) == 1


@pytest.mark.parametrize("content", ["", "null", "[]", '{"v": 1}', "\x00", '{"at": 1, "message": 2, "left": {}}'])
def test_nonsense_on_disk_is_cleared_away(content: str, post: Post, ear: Ear) -> None:
    post.outbox.mkdir()
    for name in ("000001700000000-1.json", "collecting.json"):
        (post.outbox / name).write_text(content)
    post.configure(webhook=ear.url)
    post.start().tell(event())
    ear.wait_for(1)
    wait_until(lambda: not post.files())


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"v": 1, "urls": 5})])
def test_settings_that_make_no_sense_tell_nobody_and_say_so(content: str, post: Post, ear: Ear) -> None:
    (post.folder / config.FILE).write_text(content)
    sender = post.start()
    wait_until(lambda: any("can't be read" in line for line in post.said))
    post.configure(webhook=ear.url)
    wait_until(lambda: any("alerts go to" in line for line in post.said))
    sender.tell(event())
    ear.wait_for(1)
