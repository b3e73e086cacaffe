"""The one place that speaks XML-RPC to supervisord: each call on a connection of its own, with a deadline.

Nothing that supervisord may do raises: a fault or a silence is a value, which the caller has to look at.
Facts of supervisord's behaviour are from supervisor/rpcinterface.py and process.py, the same in 4.2.5 to 4.4.
"""

from .client import Supervisor
from .values import ENDING, FAULTS, UP, Answer, Changes, Failure, Fault, Process, T, Unreachable, program_name

__all__ = [
    "ENDING",
    "FAULTS",
    "UP",
    "Answer",
    "Changes",
    "Failure",
    "Fault",
    "Process",
    "Supervisor",
    "T",
    "Unreachable",
    "program_name",
]
