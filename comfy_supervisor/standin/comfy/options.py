"""Whether ``comfy.cli_args`` reads the process's own command line, as ComfyUI has it."""

args_parsing = False


def enable_args_parsing(enable: bool = True) -> None:
    """Have ``comfy.cli_args``, imported after this, parse ``sys.argv`` instead of an empty command line."""
    global args_parsing  # noqa: PLW0603  # ComfyUI's protocol: who reads its parser sets and reads this name
    args_parsing = enable
