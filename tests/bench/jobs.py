"""What it costs that no job is lost: clients, jobs, the time of a replay, and the disk."""

from __future__ import annotations

from . import acceptance, duration, history, replays
from .bridges import disk
from .report import Report

PARTS = {
    "Submitting a job": acceptance.measure,
    "Doing it": duration.measure,
    "Replaying them": replays.measure,
    "Remembering them": history.measure,
}


def measure(_rounds: int) -> Report:
    """Measure all of it."""
    how = f"The journals lie on a disk ({disk()})."
    found = {title: part() for title, part in PARTS.items()}
    texts = [f"### {title}\n\n{report.text}" for title, report in found.items()]
    return Report("\n\n".join([how, *texts]), [bound for report in found.values() for bound in report.missed])
