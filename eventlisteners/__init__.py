"""The short main programs that supervisord runs as event listeners."""
