"""A stand-in for ComfyUI, laid out as a ComfyUI folder: speaks its API, makes no images, fails on command."""
