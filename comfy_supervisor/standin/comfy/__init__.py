"""The part of ComfyUI's layout that describes its command line."""
