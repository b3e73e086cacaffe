"""What everybody is told who meets the stand-in."""

NOTICE = "This is comfy-supervisor's stand-in, NOT ComfyUI: it speaks its API, but no images are generated."
