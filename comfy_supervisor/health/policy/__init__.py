"""When to restart ComfyUI, and when not to: pure, from the evidence to the verdict."""
