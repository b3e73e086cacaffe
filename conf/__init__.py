"""Jinja2 templates and the commented example of the settings file."""
