"""What goes wrong, how often, and who says so; and how a ComfyUI behaves then.

Rates are a year, of one instance, of the machine, or of one instance's jobs. A guess is called one: what counts is that
all are compared under the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from comfy_supervisor.health.policy.evidence import Patience, Reply

DAY = 86400.0
YEAR = 365 * DAY
GUESS = "a guess"
_LLAMA = "Llama 3, arXiv:2407.21783, table 5: of 16,384 GPUs, 148 in 54 days"


@dataclass(frozen=True)
class Ail:
    """How an instance is while something is wrong with it, or only seems to be."""

    name: str
    reply: Reply = Reply.GOOD
    works: bool = False
    """Its jobs go on."""
    cpu: float = 0.0
    """Cores in use besides those for its job."""
    status: str = "S"
    """The kernel's letter for the process."""
    disk: bool = False
    """It waits in the kernel for a disk."""
    gpu: int = 0
    """Use of its GPU, in percent."""
    xids: tuple[int, ...] = ()
    """Errors that the driver reports of its GPU."""
    ends: bool = True
    """SIGINT has its effect."""
    stubborn: bool = False
    """Not even SIGKILL has."""
    honest: bool = False
    """Nothing is wrong: it passes."""
    bound: float | None = None
    """Seconds within which it is acted upon or said; None: nothing is to be."""
    of_job: bool = False
    """It ends with the job."""


AILS = {
    ail.name: ail
    for ail in (
        Ail("worker_dead", bound=20.0),
        Ail("stall", of_job=True, bound=240.0),
        Ail("deadlock", ends=False, of_job=True, bound=240.0),
        Ail("spin", gpu=100, ends=False, of_job=True, bound=1900.0),
        Ail("stuck", ends=False, stubborn=True, of_job=True, bound=240.0),
        Ail("poisoned", ends=True, bound=20.0),
        Ail("deaf", Reply.TIMEOUT, ends=False, bound=80.0),
        Ail("gil", Reply.TIMEOUT, cpu=1.0, ends=False, bound=1900.0),
        Ail("refuses", Reply.REFUSED, bound=80.0),
        Ail("frozen", Reply.TIMEOUT, status="T", ends=False, bound=40.0),
        Ail("errors", Reply.ERROR, bound=80.0),
        Ail("gpu_lost", bound=30.0),
        Ail("strange", Reply.STRANGE, works=True, honest=True),
        Ail("xid", works=True, xids=(13, 31), honest=True),
        Ail("busy_gil", Reply.TIMEOUT, works=True, cpu=1.0, honest=True),
        Ail("slow_disk", Reply.TIMEOUT, disk=True, honest=True),
        Ail("unreachable", Reply.TIMEOUT, works=True, honest=True),
        Ail("debugged", Reply.TIMEOUT, status="t", honest=True),
    )
}


@dataclass(frozen=True)
class Fault:
    """One thing that happens now and then."""

    name: str
    told: str
    rate: float
    of: str = "instance"
    """``instance``, ``machine`` or ``job``."""
    source: str = GUESS
    lasts: tuple[float, float] = (0.0, 0.0)
    """Seconds, from … to."""
    times: str = ""
    """Of a job that is so each time it runs: what it is to the journal's world."""
    patience: Patience = Patience.NORMAL
    """Of a job's nodes."""
    shows: str = ""
    """Of an honest job, what moves in place of its progress: ``cpu``, ``io``, ``nothing``."""


_WORKERS = "ComfyUI #16312, #10514, #11023: rate a guess"
_STALLS = "ComfyUI #3131, #14396: rate a guess"
FAULTS = (
    # ComfyUI itself
    Fault("deaf", "the API's event loop hangs, and nothing moves", 4),
    Fault("gil", "a node holds Python's lock for ever, with CPU", 2),
    Fault("refuses", "its port is closed, and it lives on", 0.5),
    Fault("errors", "its API answers HTTP 500 only, and nothing moves", 1),
    Fault("frozen", "SIGSTOP", 0.5),
    Fault("gpu_lost", "the GPU is lost (Xid 79)", 0.1, source=f"{_LLAMA}: 0.06 a GPU and year"),
    Fault("crash", "it crashes (SIGSEGV)", 12),
    Fault("kill", "killed from outside (SIGKILL)", 4),
    Fault("crash_loop", "an update: it crashes soon after each start", 0.5),
    Fault("misconfigured", "an update: it can't start (exit 2)", 1),
    Fault("port_taken", "it crashes, and another program takes its port", 0.2),
    Fault("reexec", "ComfyUI-Manager restarts it in its process", 12),
    # what only seems wrong
    Fault("busy_gil", "honest: Python's lock is held with CPU for 20 to 90 s", 52, lasts=(20, 90)),
    Fault("debugged", "honest: a debugger holds it for 1 to 10 min", 1, lasts=(60, 600)),
    Fault("strange", "honest: a proxy answers in its place, with a page, for 20 s to 10 min", 2, lasts=(20, 600)),
    Fault("xid", "honest: the driver reports Xid 13 and 31, and jobs go on", 4, lasts=(60, 600)),
    # those around it
    Fault("stop", "an operator stops it for 10 min to 2 h", 6, lasts=(600, 7200)),
    Fault("restart", "an operator restarts it", 24),
    Fault("pause", "an operator pauses its queue for 5 min to 1 h", 4, lasts=(300, 3600)),
    Fault("delete", "a user deletes a waiting job", 52),
    Fault("clear", "a user deletes all that wait", 12),
    Fault("interrupt", "a user interrupts the running job", 26),
    # the machine
    Fault("reboot", "the machine reboots", 12, of="machine"),
    Fault("pause_of_all", "the machine stands still for 20 s to 5 min", 12, of="machine", lasts=(20, 300)),
    Fault("suspend", "the machine is suspended for 1 to 8 h", 0.2, of="machine", lasts=(3600, 28800)),
    Fault("clock", "the wall clock jumps by up to a day", 4, of="machine", lasts=(-DAY, DAY)),
    Fault("disk_full", "the disk is full for 10 min to 4 h", 2, of="machine", lasts=(600, 14400)),
    Fault("slow_disk", "honest: the disk stalls for 20 to 180 s", 12, of="machine", lasts=(20, 180)),
    Fault("unreachable", "honest: no API can be reached for 40 s to 5 min", 4, of="machine", lasts=(40, 300)),
    Fault("supervisord", "supervisord dies, and its service starts it again", 2, of="machine"),
    Fault("rpc", "supervisord does not answer for 10 s to 5 min", 4, of="machine", lasts=(10, 300)),
    Fault("listener", "the health listener is killed", 6, of="machine"),
    Fault("nvml", "NVML hangs, or tells nothing, for 1 min to 4 h", 6, of="machine", lasts=(60, 14400)),
    Fault("own_trouble", "the health listener has no descriptors for 10 s to 2 min", 4, of="machine", lasts=(10, 120)),
    # its jobs
    Fault("worker_dead", "its worker thread dies in a job", 4, of="job", source=_WORKERS),
    Fault("stall", "a job stands still, and can be interrupted", 6, of="job", source=_STALLS),
    Fault("deadlock", "a job stands still, deaf to interrupts", 6, of="job", source=_STALLS),
    Fault("spin", "a job makes no progress, its GPU at 100 %", 1, of="job", source="ComfyUI #3131: rate a guess"),
    Fault("stuck", "a job stands still, and its process survives SIGKILL", 0.2, of="job"),
    Fault("poisoned", "a sticky CUDA error, by chance", 12, of="job", source="ComfyUI #15271, #13142: rate a guess"),
    Fault("poisons", "a job that always poisons its GPU", 1, of="job", times="poisoner"),
    Fault("kills", "a job that always kills ComfyUI", 2, of="job", times="killer"),
    Fault("oom_killed", "the kernel's OOM killer ends it in a job", 6, of="job"),
    Fault("out_of_memory", "a CUDA out of memory: the job fails", 120, of="job", times="failing"),
    Fault(
        "burns",
        "honest: a job uses the CPU for 5 to 15 min, without progress",
        40,
        of="job",
        lasts=(300, 900),
        shows="cpu",
    ),
    Fault("loads", "honest: a model is read for 5 to 15 min", 40, of="job", lasts=(300, 900), shows="io"),
    Fault(
        "remote",
        "honest: a node waits 5 to 40 min for an API elsewhere",
        40,
        of="job",
        lasts=(300, 2400),
        shows="nothing",
        patience=Patience.REMOTE,
    ),
    Fault(
        "person",
        "honest: a node waits 5 min to 3 h for a person",
        4,
        of="job",
        lasts=(300, 10800),
        shows="nothing",
        patience=Patience.ENDLESS,
    ),
    Fault(
        "undeclared",
        "honest: the same as an API node, but a custom node that doesn't say so, 1 to 8 min",
        4,
        of="job",
        lasts=(60, 480),
        shows="nothing",
    ),
)
