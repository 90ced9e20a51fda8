"""What the ledger says was spent, for people and for programs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from judges.errors import UserError
from judges.storage.ledger import By, Spending
from leaderboard.display.table import Records

HEADERS = ("calls", "input tokens", "cached", "output tokens", "cost")
_DAYS = {"d": 1, "w": 7}


def since_time(text: str, now: datetime | None = None) -> str:
    """The time that a date (2026-08-01) or a span (7d, 2w) begins at, as the ledger writes times.

    Raises UserError for anything else.
    """
    if span := re.fullmatch(r"(\d{1,4})([dw])", text):
        begin = (now or datetime.now(UTC)) - timedelta(days=int(span[1]) * _DAYS[span[2]])
        return begin.isoformat(timespec="seconds")
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).isoformat()
    except ValueError:
        raise UserError(f"--since {text}: write a date (2026-08-01) or a span (7d, 2w)") from None


def spending_cells(spending: Sequence[Spending], by: By) -> tuple[list[str], list[list[str]]]:
    """Headers and cells, one row a group, and where there are several one for all of them."""
    body = [_cells(group.group, [group]) for group in spending]
    if len(spending) > 1:
        body.append(_cells("in all", spending))
    return [by, *HEADERS], body


def spending_records(spending: Sequence[Spending], by: By) -> Records:
    """One record a group. `cost_usd` is None where no price was known."""
    return [
        {
            by: group.group,
            "calls": group.calls,
            "input_tokens": group.input_tokens,
            "cached_tokens": group.cached_tokens,
            "output_tokens": group.output_tokens,
            "reasoning_tokens": group.reasoning_tokens,
            "cost_usd": group.cost_usd if group.unpriced < group.calls else None,
            "n_unpriced": group.unpriced,
            "n_batched": group.batched,
            "n_retries": group.retries,
        }
        for group in spending
    ]


def unknown_prices(spending: Sequence[Spending]) -> str | None:
    """What to do about calls whose price was not known, if there are any."""
    count = sum(group.unpriced for group in spending)
    if not count:
        return None
    return (
        f"the price of {count:,} calls was not known when they were made; "
        "prices.toml can say it for the next ones"
    )


def _cells(name: str, groups: Sequence[Spending]) -> list[str]:
    calls = sum(group.calls for group in groups)
    unpriced = sum(group.unpriced for group in groups)
    cost = dollars(sum(group.cost_usd for group in groups))
    return [
        name,
        f"{calls:,}",
        f"{sum(group.input_tokens for group in groups):,}",
        f"{sum(group.cached_tokens for group in groups):,}",
        f"{sum(group.output_tokens for group in groups):,}",
        "not known" if unpriced == calls else f"at least {cost}" if unpriced else cost,
    ]


def dollars(cost: float) -> str:
    """A cost as people read it; a small one is never shown as nothing."""
    if cost == 0:
        return "$0"
    if cost < 0.0001:
        return "under $0.0001"
    return f"${cost:,.2f}" if cost >= 1 else f"${cost:.4f}"
