"""From programs to supervisord's configuration: quoted in one place, proved before it is written."""

from .conf import Configuration, text
from .proof import prove

__all__ = ["Configuration", "prove", "text"]
