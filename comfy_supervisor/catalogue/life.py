"""One life of ComfyUI as its log tells it: what went wrong in it, and where. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .entry import Place
from .reading import shown
from .signs import Sign, Turn

KEPT = 5
"""Lines that are remembered of what is seen again and again."""
MOST = 64
"""Signs that are remembered of one traceback."""
WEIGHTS = {
    Place.MAIN: 1.0,
    Place.JOB: 0.85,
    Place.THREAD: 0.85,
    Place.LOG: 0.75,
    Place.NODE: 0.35,
    Place.REQUEST: 0.3,
}
"""How much a failure weighs by where it stands."""
_WARNING = 0.3
"""How much one weighs that ComfyUI goes on without."""


@dataclass
class Finding:
    """A cause that was seen in a life, or an exception that nobody knows."""

    cause: str
    strength: float = 0.0
    """What the best of its lines weighs; above 1, ComfyUI ended of it."""
    lines: list[int] = field(default_factory=list)
    last: int = 0
    details: dict[str, str] = field(default_factory=dict)

    def is_full(self, strength: float) -> bool:
        """Tell whether a line of this weight would add nothing."""
        return strength <= self.strength and len(self.lines) >= KEPT

    def note(self, line: int, strength: float, details: Mapping[str, str]) -> None:
        """Take a line in."""
        self.last = line
        if self.is_full(strength):
            return
        if strength > self.strength + 0.5:  # what it ended of counts for more than what it lived on with
            self.lines, self.details = [], {}
        self.strength = max(self.strength, strength)
        self.details = {**details, **self.details}
        if len(self.lines) < KEPT and line not in self.lines:
            self.lines.append(line)


@dataclass
class _Scene:
    """A traceback with those that it came of, and what introduces it."""

    place: Place = Place.LOG
    seen: list[tuple[int, Sign]] = field(default_factory=list)
    traced: bool = False
    raised: int = 0
    """The line that names the exception; what follows belongs to the scene only if it is chained."""
    error: str = ""
    chained: bool = False
    mentioned: bool = False
    """Whether Python can only mention the exception, since there is nobody to whom it could be raised."""


class Life:
    """What has been read of one life."""

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.findings: dict[str, Finding] = {}
        self.strange: Finding | None = None
        """The exception that ended it, or a job, and that no signature knows."""
        self.begun: set[str] = set()
        self._waits: set[int] = set()
        """Lines in which our launcher says what it waits for, or that another life ended of."""
        self.serving = self.worked = self.stopped = False
        self._scene: _Scene | None = None
        self._last: _Scene | None = None
        """The scene before those that Python only mentions: what a start breaks off with may be that one."""

    @property
    def ended(self) -> bool:
        """Whether it ended of something in its log."""
        return any(finding.strength > 1 for finding in (*self.findings.values(), *filter(None, [self.strange])))

    @property
    def in_traceback(self) -> bool:
        """Whether the line that names the exception is still to come."""
        return self._scene is not None and self._scene.traced and not self._scene.raised

    def is_anothers(self, turns: Sequence[tuple[Turn, str]]) -> bool:
        """Tell whether a line with these turning points can only be the next life's."""
        over = self.serving or self.stopped or self.ended
        return any(
            (turn is Turn.BEGIN and (over or words in self.begun)) or (turn is Turn.LAUNCH and (over or self.begun))
            for turn, words in turns
        )

    def take(self, line: int, turns: Sequence[tuple[Turn, str]], found: Sequence[Sign]) -> None:
        """Take in what a line says."""
        outside = self._scene is None or bool(self._scene.raised)
        for turn, words in turns:
            self._turn(turn, words, line)
            outside = outside and turn not in _INSIDE
        if found and any(turn is Turn.LAUNCH for turn, _ in turns):
            self._waits.add(line)
        for sign in found:
            if self._scene is None or outside:
                self._note(line, sign, Place.LOG)
            elif len(self._scene.seen) < MOST:
                self._scene.seen.append((line, sign))

    def _turn(self, turn: Turn, words: str, line: int) -> None:
        if turn in _INTRODUCED:
            self._open(_INTRODUCED[turn])
        elif turn is Turn.IGNORED:
            self._mention()
        elif turn is Turn.TRACEBACK:
            self._traceback()
        elif turn in _AFTER:
            self._pass(turn, words)
        elif self._scene is not None:
            self._within(self._scene, turn, words, line)

    def _traceback(self) -> None:
        """Go on in the scene that a traceback belongs to, or begin one."""
        scene = self._scene
        if scene is None or (scene.raised and not scene.chained):
            scene = self._open(Place.LOG)
        scene.traced, scene.chained, scene.raised = True, False, 0

    def _mention(self) -> None:
        """Begin a scene that the process can't end of; the one before stays open for what it may have ended of."""
        if self._scene is not None and self._scene.mentioned:
            self._take_in(self._scene)
        else:
            self._last = self._scene
        self._scene = _Scene(mentioned=True)

    def _within(self, scene: _Scene, turn: Turn, words: str, line: int) -> None:
        if turn is Turn.CHAINED:
            scene.chained = True
        elif turn is Turn.IN_MAIN and scene.place is Place.LOG and not scene.mentioned:
            scene.place = Place.MAIN
        elif turn is Turn.NODE:
            scene.place = Place.NODE
        elif turn is Turn.RAISED and scene.traced and not scene.raised:
            scene.raised, scene.error = line, words

    def _pass(self, turn: Turn, words: str) -> None:
        """Note how far it has come."""
        self.close()
        if turn is Turn.BEGIN:
            self._forget_waits()
            self.begun.add(words)
        self.serving |= turn is Turn.SERVING
        self.worked |= turn is Turn.DONE
        self.stopped |= turn is Turn.STOPPED

    def _forget_waits(self) -> None:
        """Forget what was known from our launcher alone: ComfyUI begins, so that has passed."""
        if not self.begun:
            own = self.findings.items()
            self.findings = {cause: one for cause, one in own if not self._waits.issuperset((*one.lines, one.last))}

    def _open(self, place: Place) -> _Scene:
        self.close()
        self._scene = _Scene(place)
        return self._scene

    def finish(self) -> None:
        """Take in what stands at the end: a traceback with which a start breaks off is what it ended of."""
        last = self._last if self._scene is not None and self._scene.mentioned else self._scene
        if last is not None and last.raised and last.place is Place.LOG and not self.serving:
            last.place = Place.MAIN
        self.close()

    def close(self) -> None:
        """Take in what is open: nothing more belongs to it."""
        scenes, self._last, self._scene = (self._last, self._scene), None, None
        for scene in filter(None, scenes):
            self._take_in(scene)

    def _take_in(self, scene: _Scene) -> None:
        for line, sign in scene.seen:
            self._note(line, sign, scene.place)
        if scene.raised and not scene.seen and scene.place in (Place.MAIN, Place.JOB):
            self._wonder(scene)

    def _wonder(self, scene: _Scene) -> None:
        """Remember an exception that no signature knows; one that ended ComfyUI rather than a job's."""
        strength = WEIGHTS[scene.place] + (scene.place is Place.MAIN)
        self.strange = self.strange or Finding("unknown")
        if not self.strange.is_full(strength):
            self.strange.note(scene.raised, strength, {"error": shown(scene.error)})
        self.strange.last = scene.raised

    def _note(self, line: int, sign: Sign, place: Place) -> None:
        if place not in sign.signature.places:
            return
        ended = sign.signature.fatal or place is Place.MAIN
        weight = _WARNING if sign.entry.kind == "warning" else WEIGHTS[Place.MAIN if ended else place]
        strength = weight * sign.signature.weight + ended
        finding = self.findings.get(sign.entry.cause)
        if finding is None:
            finding = self.findings[sign.entry.cause] = Finding(sign.entry.cause)
        finding.note(line, strength, sign.details)


_INTRODUCED = {Turn.JOB: Place.JOB, Turn.THREAD: Place.THREAD, Turn.REQUEST: Place.REQUEST}
_AFTER = (Turn.BEGIN, Turn.LAUNCH, Turn.SERVING, Turn.DONE, Turn.STOPPED)
"""What comes only when all that went before is over."""
_INSIDE = (*_INTRODUCED, Turn.TRACEBACK, Turn.CHAINED, Turn.NODE, Turn.IGNORED)
"""What stands in a scene, even after the line that names its exception."""
