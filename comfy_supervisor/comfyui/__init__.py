"""What is installed: ComfyUI's folder, interpreter, version, and what its command line accepts."""
