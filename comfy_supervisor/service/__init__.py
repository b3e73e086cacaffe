"""The service that starts at boot: systemd's units, as text."""

from .unit import GPU_UNIT, MARK, UNIT, Site, can_be_said, command, gpu_unit, refuse_unsayable, unit

__all__ = ["GPU_UNIT", "MARK", "UNIT", "Site", "can_be_said", "command", "gpu_unit", "refuse_unsayable", "unit"]
