"""Which ComfyUI release is imitated, and what came with which release.

Read from ComfyUI's history: the release after the commit that brought it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Since = tuple[int, ...]

PROMPT_ID: Since = (0, 3, 45)
"""``POST /prompt`` takes the client's ``prompt_id``; before, the server makes one."""
PROGRESS_STATE: Since = (0, 3, 45)
"""The WebSocket event ``progress_state``."""
INTERRUPT_ONE: Since = (0, 3, 57)
"""``POST /interrupt`` heeds ``prompt_id``; before, it interrupts whatever runs."""
HISTORY_OFFSET: Since = (0, 3, 60)
KEEPS_KEYS_APART: Since = (0, 3, 68)
"""API keys are taken out of ``extra_data`` before a job is queued; before, only from its history."""
CREATE_TIME: Since = (0, 3, 69)
"""``extra_data`` says when the job was accepted."""
SYSTEM_NAME: Since = (0, 4, 0)
"""``/system_stats`` says ``linux``; before, ``posix``."""
JOBS_API: Since = (0, 6, 0)
SEARCH_ALIASES: Since = (0, 11, 0)
MISSING_NODE_TYPE: Since = (0, 12, 0)
"""An unknown node is a ``missing_node_type``; before, an ``invalid_prompt``."""
IS_INPUT_LIST: Since = (0, 12, 0)
FAULTHANDLER: Since = (0, 17, 0)
INTERMEDIATE_OUTPUT: Since = (0, 19, 0)
PORT_IN_USE: Since = (0, 21, 0)
"""A taken port is explained in one line; before, by a traceback."""
PACKAGE_VERSIONS: Since = (0, 22, 0)
COLOURED_LOG: Since = (0, 23, 0)
"""Each line of the log begins with its level, in colour, terminal or not."""
UUID_PROMPT_ID: Since = (0, 25, 0)
"""``prompt_id`` has to be a UUID as Python writes it."""
DEPLOY_ENVIRONMENT: Since = (0, 25, 0)
SAVED_IMAGES_GO_ON: Since = (0, 26, 0)
"""SaveImage and PreviewImage hand on the images that they saved."""
JOBS_CANCEL: Since = (0, 26, 0)


@dataclass(frozen=True)
class Release:
    """A ComfyUI release."""

    version: str
    """``0.33.0``."""

    def has(self, since: Since) -> bool:
        """Tell whether the release is that one or a later one; an unreadable version is none."""
        return tuple(map(int, re.findall(r"\d+", self.version)[:3])) >= since
