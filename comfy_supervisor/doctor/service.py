"""supervisord, what is rendered for it, and the limits that it is under."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version

from .. import __version__, disk, paths, presence, rendered, rpc, status, why
from ..launch import holds
from ..plan import MOST_FDS
from ..rendered import Rendered
from . import finding
from .finding import Finding
from .patient import Patient

FEW_FDS = 4096
"""Open files below which many clients and custom nodes run into "Too many open files"."""


def versions(_: Patient) -> Iterator[Finding]:
    """Tell our own version, and of what we stand on."""
    found = f"comfy-supervisor {__version__}, supervisor {version('supervisor')}, Python {platform.python_version()}"
    yield finding.ok("versions", found)


def supervisord(patient: Patient) -> Iterator[Finding]:
    """Tell whether supervisord runs, and what the launcher holds back."""
    conf = patient.places.conf
    if not conf.exists():
        yield finding.ok(
            "supervisord", f"nothing is rendered yet; {presence.starter_of(conf)} does it, and starts ComfyUI"
        )
        return
    service = rendered.read(conf)
    supervisor = rpc.Supervisor(service.url)
    pid = supervisor.pid()
    if isinstance(pid, int):
        yield _release(pid, supervisor.version())
        yield from (_held(service.url, one, hold) for one in service.instances if (hold := status.hold(one)))
    elif "timed out" in pid.text:
        mend = f"look for a stopped supervisord (ps, state T): kill -CONT it, or kill it and remove {service.socket}"
        yield finding.problem("supervisord", pid.text, "an answer, or nobody there", mend)
    elif "ermission denied" in pid.text:
        mend = "run doctor as the account that runs supervisord"
        yield finding.warning("supervisord", pid.text, "an answer, or nobody there", mend)
    else:
        yield finding.ok("supervisord", f"does not run; {presence.starts(conf)}")


def _release(pid: int, running: rpc.Answer[str]) -> Finding:
    """Judge the release that runs against the one that is installed."""
    installed = version("supervisor")
    if isinstance(running, rpc.Failure) or running == installed:
        return finding.ok("supervisord", f"runs (pid {pid})")
    found, wanted = f"{running} runs (pid {pid}), {installed} is installed", "the one that is installed"
    return finding.warning("supervisord", found, wanted, "comfy-supervisor down, then up, when it suits you")


def _held(url: str, instance: Rendered, hold: holds.Hold) -> Finding:
    """Tell why the launcher keeps an instance from starting."""
    found = f"{instance.program} is held back ({hold.reason}): {hold.text}"
    explained = why.held(hold, instance.log, url, instance.program)
    if explained:
        found = f"{found}; {explained.cause}: {explained.explanation}"
    mend = f"{explained.fix if explained else 'mend that'}; to start it now: comfy-supervisor start {instance.program}"
    state = finding.warning if hold.reason in (holds.BACKOFF, holds.MAINTENANCE) else finding.problem
    return state("hold", found, "no hold", mend)


def configuration(patient: Patient) -> Iterator[Finding]:
    """Tell whether what is rendered is what would be rendered now."""
    made = patient.known_plan
    if not made or not made.paths.conf.exists():
        return
    changed = [file.path.name for file in made.files if disk.differs(file)]
    if changed:
        found = f"{', '.join(changed)} would change: the settings, the GPUs or ComfyUI did"
        down = presence.abandoned(made.paths.socket)
        mend = presence.starter_of(made.paths.conf) if down else "comfy-supervisor apply"
        yield finding.warning("configuration", found, "what these settings render", mend)
    else:
        yield finding.ok("configuration", f"{made.paths.conf} is up to date", "what these settings render")


def socket(patient: Patient) -> Iterator[Finding]:
    """Tell whether the path of supervisord's socket is short enough."""
    path = patient.places.socket
    found = f"{path}: {len(bytes(path))} bytes"
    wanted = f"at most {paths.LONGEST_SOCKET} bytes, since the kernel takes no longer one"
    if paths.socket_fits(patient.places.run):
        yield finding.ok("socket", found, wanted)
    else:
        yield finding.problem("socket", found, wanted, "set a shorter paths.run")


def open_files(patient: Patient) -> Iterator[Finding]:
    """Judge how many files a process may open here; supervisord raises the limit as far as that."""
    limit = patient.machine.hard_fd_limit
    wanted = f"{FEW_FDS} or more, {MOST_FDS} if possible"
    if limit >= FEW_FDS:
        yield finding.ok("open-files", f"a process may open {limit}", wanted)
    else:
        mend = "raise the hard limit: ulimit -Hn, LimitNOFILE= of a systemd unit, docker run --ulimit nofile="
        yield finding.warning("open-files", f"a process may open only {limit}", wanted, mend)
