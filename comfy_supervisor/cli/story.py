"""What happens to the instances, told as it happens: pure, from one look to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..status import DOWN, Status

QUIET = 120.0
"""Seconds without a word in the log after which a start-up is no longer waited for."""


@dataclass
class Chapter:
    """One instance's life, as far as it was seen."""

    pid: int = 0
    since: float = 0.0
    """When this process was first seen, by the caller's clock."""
    ready: bool = False
    lives: int = 0
    log_size: int = 0
    log_moved: float = 0.0
    said: str = ""


@dataclass
class Story:
    """Turns looks at the instances into lines for a person."""

    chapters: dict[str, Chapter] = field(default_factory=dict)

    def tell(self, statuses: Iterable[Status], log_sizes: Mapping[str, int], now: float) -> list[str]:
        """Return what is new since the last look; ``now`` in seconds, by any clock that doesn't jump."""
        lines: list[str] = []
        for status in statuses:
            chapter = self.chapters.setdefault(status.instance.program, Chapter(log_moved=now))
            size = log_sizes.get(status.instance.program, 0)
            if size != chapter.log_size:
                chapter.log_size, chapter.log_moved = size, now
            lines += [f"{status.instance.program}: {line}" for line in _news(chapter, status, now)]
        return lines

    def line(self, now: float) -> str:
        """Return where those stand that aren't ready yet, in one line; empty when all are."""
        waiting = ((name, chapter) for name, chapter in self.chapters.items() if not chapter.ready and chapter.pid)
        return "; ".join(f"{name}: {chapter.said}, {now - chapter.since:.1f} s" for name, chapter in waiting)

    @property
    def all_ready(self) -> bool:
        """Whether every instance's API has answered."""
        return bool(self.chapters) and all(chapter.ready for chapter in self.chapters.values())

    def gave_up_on(self, statuses: Iterable[Status], now: float) -> list[str]:
        """Return the instances that will not be ready by waiting: held, stopped, dying again and again, or silent."""
        return [
            status.instance.program
            for status in statuses
            if not status.ready and _hopeless(self.chapters[status.instance.program], status, now)
        ]


def _hopeless(chapter: Chapter, status: Status, now: float) -> bool:
    return (
        status.state in ("HELD", "STOPPED", "FATAL")
        or chapter.lives > 2  # noqa: PLR2004  # the second death in a row is no accident
        or now - max(chapter.log_moved, chapter.since) > QUIET
    )


def _news(chapter: Chapter, status: Status, now: float) -> list[str]:
    lines: list[str] = []
    if status.pid != chapter.pid:
        lines += _new_process(chapter, status, now)
    if status.ready and not chapter.ready:
        chapter.ready, chapter.lives = True, 1
        lines.append(f"API ready in {now - chapter.since:.1f} s: {status.instance.url}")
    said = _stage(chapter, status)
    if said != chapter.said and not chapter.ready:
        lines.append(said)
    chapter.said = said
    return lines


def _new_process(chapter: Chapter, status: Status, now: float) -> list[str]:
    """Note that the process is another one, or gone."""
    was, chapter.pid, chapter.since = chapter.pid, status.pid, now
    chapter.ready, chapter.said = False, ""
    chapter.lives += bool(status.pid)
    lines = [f"process {was} ended"] if was else []
    return [*lines, f"process up (pid {status.pid})"] if status.pid else lines


def _stage(chapter: Chapter, status: Status) -> str:
    if status.ready:
        return "ready"
    if status.state == "HELD":
        return f"held: {status.text}"
    if not status.pid:
        return status.state.lower() if status.state != DOWN else "supervisord does not answer"
    return "importing" if chapter.lives < 2 else f"importing, start {chapter.lives}"  # noqa: PLR2004
