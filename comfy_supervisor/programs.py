"""From instances to supervisord programs: pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError
from .flags import Folders
from .model import Account, CommandLine, Flag, Installation, Instance, Invocation, Program
from .paths import Paths
from .settings import Settings

NEVER_FATAL = {"startsecs": "0", "startretries": "1000000", "autorestart": "true", "autostart": "true"}
TLS = {"--tls-keyfile", "--tls-certfile"}
"""With both of these options ComfyUI speaks HTTPS."""
LISTENER = "comfyui-health"
JOURNAL = "comfyui-journal"
STOP = {"stopsignal": "INT", "stopasgroup": "true", "killasgroup": "true"}
"""Why these: the comments that render writes beside them."""


@dataclass(frozen=True)
class Site:
    """What all programs of one rendering share."""

    settings: Settings
    paths: Paths
    installation: Installation
    accepted: CommandLine
    python: tuple[str, ...]
    """Our own interpreter, and the option that shields it."""
    account: Account | None
    """Whom ComfyUI runs as, where that is not supervisord's own account."""
    output: Path
    """Where several instances have a folder each."""


def folders(instance: Instance, site: Site) -> Folders | None:
    """Return the folders of one of several instances; a lone one keeps ComfyUI's own."""
    if not instance.grouped:
        return None
    state = site.paths.instance_state(instance.id)
    return Folders(output=site.output / instance.id, user=state / "user", temp=state)


def program(instance: Instance, invocation: Invocation, site: Site) -> Program:
    """Return the supervisord program that runs an instance."""
    main = site.installation.directory / "main.py"
    return Program(
        name=instance.id if instance.grouped else "comfyui",
        group="comfyui" if instance.grouped else "",
        command=(
            *site.python,
            "-m",
            "comfy_supervisor.launch",
            instance.id,
            "--",
            str(site.installation.python),
            str(main),
            *invocation.argv,
        ),
        environment=dict(sorted(_environment(instance, invocation, site).items())),
        directory=Path("/"),  # always there; the launcher goes to ComfyUI's, and waits where that is gone
        user=site.account.name if site.account else "",
        log=log(instance, site),
        options={
            **NEVER_FATAL,
            **STOP,
            "stopwaitsecs": str(site.settings.restart.stop_seconds),
            **_rotation("stdout", site),
        },
        comments=tuple(_comments(instance, invocation)),
    )


def listener(site: Site) -> Program:
    """Return the event listener that watches all instances; it runs as supervisord's own account."""
    return Program(
        name=LISTENER,
        kind="eventlistener",
        command=(*site.python, "-m", "comfy_supervisor.eventlisteners.comfyui_health", str(site.paths.health)),
        environment={"MALLOC_ARENA_MAX": "1"},  # glibc would give each thread a heap of its own, most of it empty
        directory=Path("/"),
        log=site.paths.logs / f"{LISTENER}.log",
        options={
            "events": "PROCESS_STATE,TICK_60",
            "buffer_size": "1000",
            **NEVER_FATAL,
            "startsecs": "5",
            "stopwaitsecs": "5",
            "stdout_logfile": "NONE",
            **_rotation("stderr", site),
        },
        comments=(
            "watches ComfyUI's API, process and GPU, and has supervisord restart it when it has stopped working;",
            "health.watch = false leaves it out",
        ),
    )


def journal(instances: Sequence[Instance], site: Site) -> Program:
    """Return the program that hands all logs on to systemd's journal; the first to start, and the last to end."""
    logs = [log(instance, site) for instance in instances]
    if site.settings.health.watch:
        logs.append(site.paths.logs / f"{LISTENER}.log")
    return Program(
        name=JOURNAL,
        command=(*site.python, "-m", "comfy_supervisor.journald", *(f"{file.stem}={file}" for file in logs)),
        environment={},
        directory=Path("/"),
        log=site.paths.logs / f"{JOURNAL}.log",
        options={
            **NEVER_FATAL,
            "startsecs": "5",
            "priority": "1",
            "stopwaitsecs": "5",
            **_rotation("stdout", site),
        },
        comments=('hands the logs on to systemd\'s journal, beside their files; logs.target = "files" leaves it out',),
    )


def extension(folder: Path) -> str:
    """Return the file by which ComfyUI finds our extension in a folder of custom nodes: JSON, which is YAML too.

    Raises UserError for a folder that can't be named so: ComfyUI takes a path a line (its ``utils/extra_config.py``),
    and YAML has no control characters; it would not start.
    """
    if not str(folder).isprintable():
        raise UserError(
            f"comfy-supervisor lies in {str(folder)!r}, which ComfyUI can't be told of: "
            f"install it elsewhere, or set jobs.extension = false"
        )
    return json.dumps({"comfy_supervisor": {"custom_nodes": str(folder)}}, ensure_ascii=False) + "\n"


def addresses(listen: str, port: int) -> str:
    """Return where an instance listens, ``127.0.0.1:8188,[::1]:8188``."""
    hosts = (f"[{host}]" if ":" in host else host for host in listen.split(","))
    return ",".join(f"{host}:{port}" for host in hosts)


def url(addresses: Sequence[str], command: Sequence[str]) -> str:
    """Return the root of the API that a command serves: at its first address, or loopback if that means all."""
    host, port = addresses[0].rsplit(":", 1)
    reached = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104  # not bound, reached
    return f"{'https' if set(command) >= TLS else 'http'}://{reached}:{port}"


def log(instance: Instance, site: Site) -> Path:
    """Return the file that an instance's output goes to."""
    return site.paths.logs / f"{instance.id if instance.grouped else 'comfyui'}.log"


def _rotation(stream: str, site: Site) -> Mapping[str, str]:
    """Return the options by which supervisord rotates the log of a stream."""
    logs = site.settings.logs
    return {f"{stream}_logfile_maxbytes": str(int(logs.max_bytes)), f"{stream}_logfile_backups": str(logs.backups)}


def _environment(instance: Instance, invocation: Invocation, site: Site) -> Mapping[str, str]:
    restart = site.settings.restart
    account = site.account
    wanted = site.settings.comfyui.environment
    # supervisord's user= does not set them, and model caches then land in root's home
    home = {"HOME": str(account.home), "USER": account.name, "LOGNAME": account.name} if account else {}
    return {
        **dict.fromkeys(_of_alerts(site.settings), ""),
        **{name: value for name, value in home.items() if wanted.get(name) is not False},
        **invocation.environment,
        "COMFY_SUPERVISOR_DIRECTORY": str(site.installation.directory),
        "COMFY_SUPERVISOR_INSTANCE": instance.id,
        "COMFY_SUPERVISOR_STATE": str(site.paths.instance_state(instance.id)),
        "COMFY_SUPERVISOR_RUN": str(site.paths.instance_run(instance.id)),
        "COMFY_SUPERVISOR_ADDRESS": addresses(site.settings.comfyui.listen, instance.port),
        "COMFY_SUPERVISOR_BACKOFF": f"{restart.first_delay}:{restart.longest_delay}:{restart.healthy_after}",
    }


def _of_alerts(settings: Settings) -> Iterator[str]:
    """Yield the variables that ``env:NAME`` means: the listener needs them, and ComfyUI is not to inherit them."""
    notify = settings.notify
    for value in (*notify.urls, notify.webhook, *notify.headers.values()):
        if value.startswith("env:"):
            yield value.removeprefix("env:")


def _comments(instance: Instance, invocation: Invocation) -> Iterator[str]:
    gpu = instance.gpu
    yield f"{instance.id}: " + (f"GPU {gpu.index}, {gpu.name}, {gpu.memory_mib} MiB, {gpu.uuid}" if gpu else "the CPU")
    yield from (_line(flag, "") for flag in invocation.flags)
    yield from (_line(flag, "not ") for flag in invocation.left_out)
    yield from (f"note: {note}" for note in invocation.notes)


def _line(flag: Flag, negation: str) -> str:
    return f"  {negation}{' '.join(flag.argv)}: {flag.reason}"
