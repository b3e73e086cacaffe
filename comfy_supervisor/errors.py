"""The one class of expected errors: what the user can mend."""


class UserError(Exception):
    """Something that its reader can mend; printed as it is, without a traceback, exit code 2.

    Each problem is one line that names the file, the key, the value and the mend.
    """

    def __init__(self, *problems: str) -> None:
        """Keep the problems, one line each; all of those found, not only the first."""
        super().__init__("\n".join(problems))
        self.problems = problems
