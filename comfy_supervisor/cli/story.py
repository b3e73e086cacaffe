"""What happens to the instances, told as it happens: pure, from one look to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..launch import holds
from ..status import DOWN, HELD, Status

QUIET = 120.0
"""Seconds without a word in the log after which a start-up is no longer waited for."""
SHORT = 60.0
"""Seconds that a backoff may still last to be waited for."""
SILENCE = 2.0
"""Seconds without supervisord's word after which that is worth one: it is silent for a moment before it ends."""


@dataclass
class Chapter:
    """One instance's life, as far as it was seen."""

    pid: int = 0
    since: float = 0.0
    """When this process was first seen, or last seen held back, by the caller's clock."""
    held: bool = False
    ready: bool = False
    lives: int = 0
    """Starts since its API answered last."""
    log_size: int = 0
    log_moved: float = 0.0
    said: str = ""
    """How it stands, in words."""
    told: str = ""
    """The same as it was told, without figures that count down."""
    silent: float | None = None
    """Since when supervisord says nothing of it."""
    silence_told: bool = False


@dataclass
class Story:
    """Turns looks at the instances into lines for a person."""

    chapters: dict[str, Chapter] = field(default_factory=dict)
    _deaths: list[tuple[str, int]] = field(default_factory=list)

    def tell(self, statuses: Iterable[Status], log_sizes: Mapping[str, int], now: float) -> list[str]:
        """Return what is new since the last look; ``now`` in seconds, by any clock that doesn't jump."""
        lines: list[str] = []
        for status in statuses:
            chapter = self.chapters.setdefault(status.instance.program, Chapter(log_moved=now))
            size = log_sizes.get(status.instance.program, 0)
            if size != chapter.log_size:
                chapter.log_size, chapter.log_moved = size, now
            pid = chapter.pid
            lines += [f"{status.instance.program}: {line}" for line in _news(chapter, status, now)]
            if pid and chapter.pid != pid:
                self._deaths.append((status.instance.program, pid))
        return lines

    def deaths(self) -> list[tuple[str, int]]:
        """Return the programs and the processes of theirs that have ended since this was asked last."""
        found, self._deaths = self._deaths, []
        return found

    def line(self, now: float) -> str:
        """Return where those stand that aren't ready yet, in one line; empty when all are."""
        waiting = ((name, chapter) for name, chapter in self.chapters.items() if not chapter.ready and chapter.pid)
        return "; ".join(f"{name}: {_lasting(chapter, now)}" for name, chapter in waiting)

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
        status.state in ("STOPPED", "FATAL")
        or (status.state == HELD and not _passes(chapter, status))
        or chapter.lives > 2  # noqa: PLR2004  # the second death in a row is no accident
        or now - max(chapter.log_moved, chapter.since) > QUIET
    )


def _passes(chapter: Chapter, status: Status) -> bool:
    """Tell whether a hold is a backoff for earlier lives' ends, and soon over; none that follows a death just seen."""
    backs_off = status.hold is not None and status.hold.reason == holds.BACKOFF
    return backs_off and status.left is not None and status.left <= SHORT and chapter.lives <= 1


def _lasting(chapter: Chapter, now: float) -> str:
    """Return how one stands, and for how long; a hold tells that itself."""
    return chapter.said if chapter.held else f"{chapter.said}, {now - chapter.since:.1f} s"


def _news(chapter: Chapter, status: Status, now: float) -> list[str]:
    if status.state == DOWN:
        return _silence(chapter, status, now)
    lines = ["supervisord answers again"] if chapter.silence_told else []
    chapter.silent, chapter.silence_told = None, False
    if status.pid != chapter.pid:
        lines += _new_process(chapter, status, now)
    chapter.held = status.state == HELD
    if chapter.held:
        chapter.since = now
    if status.ready and not chapter.ready:
        chapter.ready, chapter.lives = True, 0
        lines.append(f"API ready in {now - chapter.since:.1f} s: {status.instance.url}")
    return [*lines, *_stage_news(chapter, status)]


def _silence(chapter: Chapter, status: Status, now: float) -> list[str]:
    """Return what to say of a supervisord that says nothing, once that lasts."""
    chapter.silent = now if chapter.silent is None else chapter.silent
    if chapter.silence_told or now - chapter.silent < SILENCE:
        return []
    chapter.silence_told = True
    return [status.text]


def _new_process(chapter: Chapter, status: Status, now: float) -> list[str]:
    """Note that the process is another one, or gone."""
    was, chapter.pid, chapter.since = chapter.pid, status.pid, now
    chapter.ready, chapter.told = False, ""
    chapter.lives += bool(status.pid)
    lines = [f"process {was} ended"] if was else []
    return [*lines, f"process up (pid {status.pid})"] if status.pid else lines


def _stage_news(chapter: Chapter, status: Status) -> list[str]:
    """Note how it stands; return that if it is another stage than before. A hold that counts down is no other one."""
    chapter.said = _stage(chapter, status)
    before, chapter.told = chapter.told, f"held: {status.hold.text}" if status.hold else chapter.said
    return [] if chapter.ready or chapter.told == before else [chapter.said]


def _stage(chapter: Chapter, status: Status) -> str:
    if status.ready:
        return "ready"
    if status.state == HELD:
        return f"held: {status.text}"
    if not status.pid:
        return status.state.lower()
    return "importing" if chapter.lives < 2 else f"importing, try {chapter.lives}"  # noqa: PLR2004
