"""The decision table: from the top, the first row that applies decides.

A row says when it applies, how the instance is then, and what to do once its evidence has lasted long enough.
"""

from __future__ import annotations

from .sickness import API, PROOF, WORK
from .standing import LAUNCHER, MACHINE, NOBODY, OURSELVES, START, WAITING

TABLE = (*OURSELVES, *NOBODY, *WAITING, *LAUNCHER, *MACHINE, *START, *PROOF, *API, *WORK)
