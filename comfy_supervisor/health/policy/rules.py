"""The numbers that the policy goes by, all in seconds where nothing else is said."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rules:
    """The defaults; the settings file has them in its tables ``health``, ``stall`` and ``restart``."""

    probe_every: float = 5.0
    suspect_every: float = 1.0
    deadline: float = 5.0
    """For a whole answer of the API."""
    start_grace: float = 600.0
    start_quiet: float = 120.0
    """How long a start must have been quiet, once its grace is over."""
    quiet: float = 30.0
    """How long an API may fail while the process does nothing."""
    patience: float = 1800.0
    """How long it may fail while the process works."""
    frozen: float = 10.0
    """How long a process may be stopped by a signal."""
    stall_after: float = 180.0
    stall_api_after: float = 3600.0
    stall_alert_after: float = 1800.0
    """How long a job may work without progress until that is said."""
    stall_hard_limit: float = 0.0
    """… and until it is ended; 0: never."""
    interrupt_wait: float = 10.0
    """How long a job that was asked to give up may take."""
    paused: float = 300.0
    """How long jobs may wait with none running until that is said."""
    active_window: float = 10.0
    active_cores: float = 0.2
    active_bytes: float = 1024.0 * 1024.0
    """Per second."""
    cuda_errors: int = 3
    """Other CUDA errors than sticky ones: so many in a row."""
    memory_limit: int = 0
    """Bytes above which an idle instance is recycled; 0: never."""
    recycle_after: float = 0.0
    """Age at which an idle instance is recycled; 0: never."""
    idle_before_recycle: float = 5.0
    budget: int = 5
    """Deaths and restarts …"""
    window: float = 3600.0
    """… within so long; then the instance is given up …"""
    retry_after: float = 900.0
    """… but for one try each time."""
    first_delay: float = 10.0
    longest_delay: float = 300.0
    healthy_after: float = 600.0
    blind_within: float = 10.0
    """Instances that fall ill alike within so long of each other have nothing: we have."""
    gpu_meant: bool = True
    """Whether the instance is to compute on a GPU."""
    gpu_require: bool = True
    """Whether it is held back rather than left to compute on the CPU."""
    interrupts: bool = True
    """Whether ``POST /interrupt`` can name a job: from ComfyUI 0.3.57 on."""

    def delay(self, deaths: int) -> float:
        """Return how long to wait after so many deaths in a row."""
        if deaths < 2:  # noqa: PLR2004  # the first one costs nothing
            return 0.0
        return float(min(self.first_delay * 2.0 ** min(deaths - 2, 64), self.longest_delay))
