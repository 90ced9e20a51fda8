"""How the flags of the commands look in --help; what they are stands in each command's fields."""

from __future__ import annotations

from typing import Any

import tyro


def shown(metavar: str) -> Any:
    """A flag whose value is called `metavar`, and whose default is told only where it says much."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=_default)


def _default(value: str) -> str:
    return "" if value in ("None", "", "False") else f"(default: {value})"
