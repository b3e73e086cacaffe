"""What docs/security.md promises of a service that runs: who reaches it, and who reads its secrets."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import requests

from tests.cli.service import Service
from tests.comfyui_server import image_job
from tests.support import free_port, wait_until

SECRETS = {name: f"planted-{name}-0f3a9c" for name in ("variable", "plain", "address", "header", "apprise", "key")}
"""By where they are planted. None has the form of a known key, by which a mask could tell it."""
MAY_HOLD = ("supervisord.conf", "supervisord.applied.conf", "notify.json")
"""The files that hold secrets, since supervisord and the health listener need them."""
COMMANDS = (
    *("status", "status --json", "jobs", "incidents", "incidents --json", "audit", "report", "gpus --json"),
    *("logs --lines 1000", "render", "apply --dry-run", "apply", "notify --test"),
)


@pytest.fixture
def secretive(service: Service) -> Service:
    """Give a service whose settings hold secrets, and whose receivers of alerts don't answer."""
    configure(service, SECRETS["plain"])
    return service


def configure(service: Service, plain: str) -> None:
    """Plant the secrets."""
    closed = f"127.0.0.1:{free_port()}"
    service.settings(
        comfyui={"environment": {"HF_TOKEN": SECRETS["variable"], "DATABASE": plain}},
        notify={
            "webhook": f"http://{closed}/{SECRETS['address']}",
            "headers": {"Authorization": f"Bearer {SECRETS['header']}"},
            "urls": [f"json://{SECRETS['apprise']}@{closed}/"],
            "collect": 0,
        },
    )


def planted(content: bytes) -> list[str]:
    """Return the names of the secrets that stand in it."""
    return [name for name, secret in SECRETS.items() if secret.encode() in content]


def files(folder: Path) -> Iterator[tuple[Path, int, list[str]]]:
    """Yield each file with its mode and the secrets in it."""
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a beat of the heart is being replaced
            mode = file.lstat().st_mode
            if stat.S_ISREG(mode):
                yield file, stat.S_IMODE(mode), planted(file.read_bytes())


@contextmanager
def command_lines() -> Iterator[set[str]]:
    """Give every command line that is seen on this machine meanwhile; it is looked at without a pause."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.005):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(process.read_bytes().decode(errors="replace"))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def submit_with_key(service: Service) -> None:
    """Have a job done that brings an API key, as ComfyUI's API nodes want it."""
    key = SECRETS["key"]
    body = {"prompt": image_job(), "extra_data": {"api_key_comfy_org": key, "auth_token_comfy_org": key}}
    service.finished(requests.post(f"{service.url}/prompt", json=body, timeout=30).json()["prompt_id"])


def crash(service: Service) -> None:
    """Have ComfyUI crash, and wait for the incident and for its successor's API."""
    before = service.pid()
    os.kill(before, signal.SIGSEGV)
    wait_until(lambda: list((service.state / "incidents").glob("*/report.md")), what="an incident")
    wait_until(lambda: service.rpc.state() and service.pid() != before)
    service.wait_for_api()


def test_secrets_are_in_files_of_their_owner_alone_and_never_in_argv_or_logs(secretive: Service) -> None:
    """Through a start, a job, a crash with its incident and its alerts that find nobody, and the commands."""
    with command_lines() as seen:
        secretive.ok("up", "-d")
        submit_with_key(secretive)
        crash(secretive)
        configure(secretive, SECRETS["plain"] + "-changed")
        told = {command: secretive.run(*command.split()) for command in COMMANDS}
    assert not [command for command, done in told.items() if planted(f"{done.stdout}{done.stderr}".encode())]
    holding = {file.name: mode for file, mode, secrets in files(secretive.state) if secrets}
    assert holding == dict.fromkeys(MAY_HOLD, 0o600)
    assert any("comfy_supervisor.launch" in line for line in seen)
    assert planted("\n".join(seen).encode()) == []


def test_what_only_alerts_and_settings_need_of_the_environment_is_kept_from_comfyui(service: Service) -> None:
    hook, receiver, token = (SECRETS[name] for name in ("address", "apprise", "header"))
    service.settings(notify={"webhook": "env:HOOK", "headers": {"Authorization": "env:TOKEN"}})
    environ = {"HOOK": f"http://127.0.0.1:9/{hook}", "TOKEN": token, "URL": f"json://{receiver}@127.0.0.1:9/"}
    service.ok("up", "-d", COMFY_SUPERVISOR__NOTIFY__URLS='["env:URL"]', **environ)
    service.wait_for_api()
    comfyui = psutil.Process(service.pid()).environ()
    assert planted("\n".join(comfyui.values()).encode()) == []
    assert not [name for name in comfyui if name.startswith("COMFY_SUPERVISOR__")]
    listener = psutil.Process(service.pid("comfyui-health")).environ()
    assert {name: listener[name] for name in environ} == environ


def test_folders_and_the_socket_are_their_owners_alone(secretive: Service) -> None:
    secretive.ok("up", "-d")
    folders = {secretive.state, *(path for path in secretive.state.rglob("*") if path.is_dir())}
    assert {oct(stat.S_IMODE(folder.stat().st_mode)) for folder in folders} == {"0o700"}
    (socket,) = (path for path in secretive.state.rglob("*") if path.is_socket())
    assert oct(stat.S_IMODE(socket.stat().st_mode)) == "0o700"


def test_nothing_but_comfyui_listens_and_it_on_this_machine_alone(secretive: Service) -> None:
    """supervisord's XML-RPC has no TCP port, so that it needs no password."""
    secretive.ok("up", "-d")
    secretive.wait_for_api()
    listening = [
        (process.pid, connection.laddr)
        for process in secretive.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == [(secretive.pid(), ("127.0.0.1", secretive.port))]


class TestExposed:
    def test_what_reaches_beyond_this_machine_is_refused_and_nothing_is_started(self, service: Service) -> None:
        service.settings(comfyui={"listen": "0.0.0.0"})
        said = service.refused("up", "-d")
        assert said.startswith(
            f'error: {service.file}: comfyui.listen = "0.0.0.0": whoever reaches this address can run'
        )
        assert said.endswith("; set security.expose = true to allow it\n")
        assert not service.state.exists()

    def test_allowed_it_listens_there_and_the_doctor_says_so(self, service: Service) -> None:
        service.settings(comfyui={"listen": "0.0.0.0"}, security={"expose": True})
        assert "note: the API listens on 0.0.0.0 and has no password" in service.run("up", "-d").stderr
        addresses = {each.laddr[0] for each in psutil.Process(service.pid()).net_connections("inet")}
        assert "0.0.0.0" in addresses
        assert "0.0.0.0 and has no password" in service.run("doctor").stdout
