"""The policy over its own record: every decision taken once more, from what was known and seen at the time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .ledger import Decision, decisions
from .policy.evidence import Verdict
from .policy.judge import judge


@dataclass(frozen=True)
class Audited:
    """One decision, and what the policy says today."""

    line: int
    decision: Decision
    today: Verdict

    @property
    def same(self) -> bool:
        """Whether it would be taken again: the same word, the same deed, for the same cause."""
        then, today = self.decision.verdict, self.today
        return (then.word, then.deed, then.cause, then.hold) == (today.word, today.deed, today.cause, today.hold)


def audit(file: Path) -> Iterator[Audited]:
    """Yield each decision of a file with today's verdict; raises OSError, codec.MalformedError."""
    for line, decision in decisions(file):
        today = judge(decision.before, decision.seen, decision.now, decision.rules)[1]
        yield Audited(line, decision, today)
