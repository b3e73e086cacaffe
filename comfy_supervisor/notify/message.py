"""What is told, and in which words: pure."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from ..launch.lastword import cut

LONGEST_SUBJECT = 100
LONGEST_LINE = 500
"""Characters of what others have said."""


class Kind(str, Enum):
    """What can be told; the names that ``notify.on`` takes."""

    RESTART = "restart"
    """ComfyUI was restarted, or had ended by itself."""
    GAVE_UP = "gave_up"
    GPU_FAULT = "gpu_fault"
    BLIND = "blind"
    JOURNAL = "journal"
    """Jobs can't be written down, or what was written can't be read."""
    ALERT = "alert"
    """Something that the listener leaves alone, and that a person should look at."""
    QUARANTINE = "quarantine"
    RECOVERY = "recovery"
    CONFIGURATION = "configuration"


_HEADS: Mapping[Kind, str] = {
    Kind.RESTART: "restarted",
    Kind.GAVE_UP: "given up",
    Kind.GPU_FAULT: "its GPU needs a person",
    Kind.BLIND: "can't be watched",
    Kind.JOURNAL: "its jobs are not kept",
    Kind.ALERT: "needs a look",
    Kind.QUARANTINE: "a job was set aside",
    Kind.RECOVERY: "works again",
    Kind.CONFIGURATION: "held back: it would fail again",
}
_URGENT = (
    *(Kind.GPU_FAULT, Kind.GAVE_UP, Kind.CONFIGURATION, Kind.BLIND),
    *(Kind.RESTART, Kind.ALERT, Kind.JOURNAL, Kind.QUARANTINE, Kind.RECOVERY),
)
"""The most urgent first: it is in the subject."""


@dataclass(frozen=True)
class Event:
    """One thing that happened."""

    kind: Kind
    instance: str
    """Its name for supervisorctl."""
    at: float
    """Seconds since the epoch."""
    why: str
    cause: str = ""
    """The cause's id."""
    done: str = ""
    """What was done about it."""
    then: str = ""
    """What is to be done next, with the command."""
    count: int = 1
    """How often it happened; ``at`` is the first time."""
    life: str = ""
    """The process that it is about, by which its incident is found; empty: it has none."""
    incident: str = ""
    """The id of that, once it is written."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes two events one, told twice."""
        return self.kind.value, self.instance, self.cause


@dataclass(frozen=True)
class Message:
    """What goes to a receiver."""

    subject: str
    text: str
    host: str
    events: tuple[Mapping[str, Any], ...] = field(default=())

    def values(self) -> dict[str, Any]:
        """Return it as a webhook gets it."""
        return {"v": 1, **asdict(self)}


def event(values: Mapping[str, Any]) -> Event:
    """Return the event that such values describe; raises ValueError, TypeError or LookupError if they don't."""
    return Event(**{**values, "kind": Kind(values["kind"]), "at": float(values["at"]), "count": int(values["count"])})


def compose(events: Sequence[Event], host: str, left_out: int = 0) -> Message:
    """Return the one message that tells of all these events, of which there is at least one."""
    parts = [_told(each) for each in events]
    if left_out:
        parts.append(f"… and {left_out} more: comfy-supervisor audit -v")
    return Message(_subject(events, host), "\n\n".join(parts), host, tuple(_public(each) for each in events))


def _public(each: Event) -> dict[str, Any]:
    """Return an event as others get it."""
    return {name: value for name, value in asdict(each).items() if name != "life"}


def _subject(events: Sequence[Event], host: str) -> str:
    """Return host, instance and the most urgent that happened to it, in one short line."""
    first = min(events, key=lambda each: _URGENT.index(each.kind))
    instances = {each.instance for each in events}
    cause = _of_what(first)
    if len(instances) > 1:
        kinds = Counter({kind: len({each.instance for each in events if each.kind is kind}) for kind in _URGENT})
        told = ", ".join(f"{_HEADS[kind]}: {count}" for kind, count in kinds.items() if count)
        line = f"{host}: {len(instances)} instances; {told}"
    else:
        after = "; works again" if first.kind is not Kind.RECOVERY and _recovered(events) else ""
        line = f"{host}: {first.instance} {_HEADS[first.kind]}{cause}{after}"
    return cut(line, LONGEST_SUBJECT)


def _of_what(each: Event) -> str:
    """Return the cause in parentheses, where there is one."""
    return f" ({_line(each.cause)})" if each.cause not in ("", "healthy", "unknown") else ""


def _recovered(events: Sequence[Event]) -> bool:
    """Tell whether the last that happened is that it works again."""
    return max(events, key=lambda each: each.at).kind is Kind.RECOVERY


def _told(each: Event) -> str:
    times = f" ({each.count} times)" if each.count > 1 else ""
    lines = [
        f"{_moment(each.at)} {_line(each.instance)}: {_HEADS[each.kind]}{_of_what(each)}{times}",
        f"why:  {_line(each.why)}",
    ]
    lines += [f"{name:<5} {_line(text)}" for name, text in (("done:", each.done), ("next:", each.then)) if text]
    lines += [f"more: comfy-supervisor incidents show {_line(each.incident)}"] if each.incident else []
    return "\n".join(lines)


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def _line(text: str) -> str:
    return cut(text, LONGEST_LINE)
