"""``python -m comfy_supervisor`` is ``comfy-supervisor``."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
