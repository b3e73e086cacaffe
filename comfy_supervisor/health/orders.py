"""An operator's orders to the listener: small files in an instance's folders, which outlive it and us.

``maintenance.json`` in the state folder: nothing is to be done to the instance. ``reset.json`` in the run folder:
what was counted against it is forgiven; the listener removes it when it has heard it.
"""

from __future__ import annotations

import os

from ..launch import records


def maintenance(state: str) -> bool:
    """Tell whether an instance is under maintenance."""
    return _exists(_maintenance(state))


def begin_maintenance(state: str, at: float) -> None:
    """Have the listener do nothing to an instance from now on (seconds since the epoch); raises OSError."""
    records.write(_maintenance(state), {"v": 1, "since": at})


def end_maintenance(state: str) -> None:
    """Let the listener act again."""
    records.remove(_maintenance(state))


def reset(run: str, at: float) -> None:
    """Have the listener forgive what it counted against an instance; raises OSError."""
    records.write(_reset(run), {"v": 1, "at": at})


def heard_reset(run: str) -> bool:
    """Tell whether a reset was ordered, once."""
    try:
        os.unlink(_reset(run))  # noqa: PTH108  # what can't be removed would be heard for ever
    except OSError:
        return False
    return True


def _maintenance(state: str) -> str:
    return f"{state}/maintenance.json"


def _reset(run: str) -> str:
    return f"{run}/reset.json"


def _exists(file: str) -> bool:
    try:
        return records.read(file) is not None
    except records.MalformedError:
        return True
