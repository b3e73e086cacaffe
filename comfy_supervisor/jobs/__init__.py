"""No job is lost: what the journal holds, and how it comes back into ComfyUI's queue after a death."""
