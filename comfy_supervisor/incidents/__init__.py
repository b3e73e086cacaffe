"""The black box: one folder for each thing that went wrong, with all that could still be seen of it, and one page."""
