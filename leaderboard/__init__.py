"""Herdbook's leaderboard: a model in, a row out.

The public API is `evaluate`, `load_board` and `compare`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "compare", "evaluate", "load_board"]

if TYPE_CHECKING:
    from leaderboard.boards.board import load_board
    from leaderboard.comparing.comparison import compare
    from leaderboard.evaluation import evaluate

_HOME = {
    "evaluate": "evaluation",
    "compare": "comparing.comparison",
    "load_board": "boards.board",
}


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `leaderboard --help` does not wait for pandas.
    if name not in _HOME:
        raise AttributeError(f"module 'leaderboard' has no attribute {name!r}")
    return getattr(import_module(f"leaderboard.{_HOME[name]}"), name)
