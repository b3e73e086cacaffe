"""From instances to supervisord programs: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .flags import Folders
from .model import Account, CommandLine, Flag, Installation, Instance, Invocation, Program
from .paths import Paths
from .settings import Settings

NEVER_FATAL = {"startsecs": "0", "startretries": "1000000", "autorestart": "true", "autostart": "true"}
STOP = {"stopsignal": "INT", "stopasgroup": "true", "killasgroup": "true"}
"""Why these: the comments that render writes beside them."""


@dataclass(frozen=True)
class Site:
    """What all programs of one rendering share."""

    settings: Settings
    paths: Paths
    installation: Installation
    accepted: CommandLine
    launcher: tuple[str, ...]
    """The command that the instance's id, ``--`` and ComfyUI's own command are appended to."""
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
    logs = site.settings.logs
    main = site.installation.directory / "main.py"
    return Program(
        name=instance.id if instance.grouped else "comfyui",
        group="comfyui" if instance.grouped else "",
        command=(
            *site.launcher,
            instance.id,
            "--",
            str(site.installation.python),
            str(main),
            *invocation.argv,
        ),
        environment=dict(sorted(_environment(instance, invocation, site).items())),
        directory=Path("/"),  # always there; the launcher goes to ComfyUI's, and waits where that is gone
        user=site.account.name if site.account else "",
        log=site.paths.logs / f"{instance.id if instance.grouped else 'comfyui'}.log",
        options={
            **NEVER_FATAL,
            **STOP,
            "stopwaitsecs": str(site.settings.restart.stop_seconds),
            "stdout_logfile_maxbytes": str(int(logs.max_bytes)),
            "stdout_logfile_backups": str(logs.backups),
        },
        comments=tuple(_comments(instance, invocation)),
    )


def addresses(listen: str, port: int) -> str:
    """Return where an instance listens, ``127.0.0.1:8188,[::1]:8188``."""
    hosts = (f"[{host}]" if ":" in host else host for host in listen.split(","))
    return ",".join(f"{host}:{port}" for host in hosts)


def _environment(instance: Instance, invocation: Invocation, site: Site) -> Mapping[str, str]:
    restart = site.settings.restart
    account = site.account
    wanted = site.settings.comfyui.environment
    # supervisord's user= does not set them, and model caches then land in root's home
    home = {"HOME": str(account.home), "USER": account.name, "LOGNAME": account.name} if account else {}
    return {
        **{name: value for name, value in home.items() if wanted.get(name) is not False},
        **invocation.environment,
        "COMFY_SUPERVISOR_DIRECTORY": str(site.installation.directory),
        "COMFY_SUPERVISOR_INSTANCE": instance.id,
        "COMFY_SUPERVISOR_STATE": str(site.paths.instance_state(instance.id)),
        "COMFY_SUPERVISOR_RUN": str(site.paths.instance_run(instance.id)),
        "COMFY_SUPERVISOR_ADDRESS": addresses(site.settings.comfyui.listen, instance.port),
        "COMFY_SUPERVISOR_BACKOFF": f"{restart.first_delay}:{restart.longest_delay}:{restart.healthy_after}",
    }


def _comments(instance: Instance, invocation: Invocation) -> Iterator[str]:
    gpu = instance.gpu
    yield f"{instance.id}: " + (f"GPU {gpu.index}, {gpu.name}, {gpu.memory_mib} MiB, {gpu.uuid}" if gpu else "the CPU")
    yield from (_line(flag, "") for flag in invocation.flags)
    yield from (_line(flag, "not ") for flag in invocation.left_out)
    yield from (f"note: {note}" for note in invocation.notes)


def _line(flag: Flag, negation: str) -> str:
    return f"  {negation}{' '.join(flag.argv)}: {flag.reason}"
