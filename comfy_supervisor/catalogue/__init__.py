"""Known failures as data: how each shows in ComfyUI's log, what it means, and what mends it. Pure."""

from .causes import ENTRIES
from .entry import TELLS_NOTHING, Entry, Explanation, Kind, Place, Signature
from .fault import configuration_fault
from .reasoning import ends, entry, explain, explain_chunks
from .search import quoted

__all__ = [
    "ENTRIES",
    "TELLS_NOTHING",
    "Entry",
    "Explanation",
    "Kind",
    "Place",
    "Signature",
    "configuration_fault",
    "ends",
    "entry",
    "explain",
    "explain_chunks",
    "quoted",
]
