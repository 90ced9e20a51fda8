"""Figures as people read them, and the filling of the packaged templates, in which all text is made
plain and then escaped, whoever wrote it."""

from __future__ import annotations

from functools import cache
from urllib.parse import urlsplit

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from judges.reading import printable


def percent(value: float) -> str:
    """A fraction as percent with one decimal; a dash where it is missing."""
    return "–" if pd.isna(value) else f"{100 * value:.1f}"


def ends(low: float, high: float) -> str:
    """The two ends of an interval; a dash where there is none."""
    return "–" if pd.isna(low) else f"{percent(low)} to {percent(high)}"


def brackets(low: float, high: float) -> str:
    """The two ends of an interval beside their value; empty where there is none, as for the
    reference, which is 50 % by definition."""
    return "" if pd.isna(low) or low == high else f"[{percent(low)}, {percent(high)}]"


def count(n: int, one: str) -> str:
    """A number of things, in the singular where it is one."""
    return f"{n:,} {one if n == 1 else one + 's'}"


def points(value: float) -> str:
    """A difference in percentage points, with its sign."""
    text = f"{100 * value:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def p_value(p: float) -> str:
    """A p-value in two digits; the smallest ones by their bound."""
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def safe_link(link: str) -> str:
    """The link where it is an https one with a host, else nothing: no scripts, no other schemes."""
    if not link.isascii() or not link.isprintable() or set(link) & set(' "<>\\^`{|}'):
        return ""
    try:
        parts = urlsplit(link)
    except ValueError:
        return ""
    return link if parts.scheme == "https" and parts.hostname else ""


def fill(template: str, **values: object) -> Markup:
    """A packaged template, filled in; what it leaves undefined is an error."""
    return Markup(_templates().get_template(f"{template}.html.jinja").render(values))


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("leaderboard.site", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent)
    return environment


def _plain(value: object) -> object:
    """A text without control characters and marks that turn the direction of what follows."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value)
    return value
