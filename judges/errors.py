"""Errors that the user can fix: printed in one or two lines, without a traceback."""

from __future__ import annotations


class UserError(Exception):
    """Something in the user's input, files or environment that the user can put right.

    The message says what is wrong, where, and what to do about it. The command line prints it
    without a traceback and exits with `exit_code`.
    """

    exit_code = 2


class MissingExtraError(UserError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package {package!r}, which is not installed. "
            f'Install it with: pip install "herdbook[{extra}]"'
        )


class MissingKeyError(UserError):
    """The environment variable that should hold a provider's key is not set."""
