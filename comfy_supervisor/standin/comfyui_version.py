"""The ComfyUI release that is imitated; $STANDIN_RELEASE chooses another."""

import os

__version__ = "0.33.0"
__version__ = os.environ.get("STANDIN_RELEASE") or __version__
