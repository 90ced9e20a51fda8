"""What judging will cost, before anything is paid: calls, tokens and dollars, low to high.

Nobody knows a server's tokens beforehand. A token is taken for 4 characters (5 in the low case, 3
in the high one), and the length of replies is the kind's own guess (`LLMJudge.reply_tokens`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from judges.backends.base import Request
from judges.backends.spec import ModelSpec
from judges.calling.caller import Caller
from judges.calling.prices import Price, Prices

CHARACTERS_PER_TOKEN = (5.0, 4.0, 3.0)
"""Low, expected and high case."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The calls to one model for one purpose; tokens and cost are low, expected and high."""

    what: str
    """Who is asked, for what: a line of the table."""
    n_calls: int
    n_stored: int
    """Calls that were made before: their replies are in the cache."""
    input_tokens: tuple[float, float, float]
    output_tokens: tuple[float, float, float]
    cost_usd: tuple[float, float, float] | None
    """None: the price is not known."""


def estimate(
    what: str,
    spec: ModelSpec,
    requests: Iterable[Request],
    reply_tokens: Sequence[float],
    prices: Prices,
    n_stored: int = 0,
    *,
    batch: bool = False,
) -> Estimate:
    """What it will cost to ask a model the requests, by single calls or by its provider's batch
    service; those `n_stored` are taken for average ones."""
    lengths = [sum(len(turn.content) for turn in request.messages) for request in requests]
    n, left = len(lengths), max(0, len(lengths) - n_stored)
    share = left / n if n else 0.0
    asked = [share * sum(lengths) / per for per in CHARACTERS_PER_TOKEN]
    replied = [left * tokens for tokens in reply_tokens]
    price = prices.of(spec)
    return Estimate(
        what=what,
        n_calls=left,
        n_stored=n_stored,
        input_tokens=(asked[0], asked[1], asked[2]),
        output_tokens=(replied[0], replied[1], replied[2]),
        cost_usd=None if price is None else _costs(price, asked, replied, batch),
    )


def _costs(
    price: Price, asked: Sequence[float], replied: Sequence[float], batch: bool
) -> tuple[float, float, float] | None:
    costs = []
    for tokens, written in zip(asked, replied, strict=True):
        cost = price.of_tokens(tokens, written, batch=batch)
        if cost is None:
            return None
        costs.append(cost)
    return costs[0], costs[1], costs[2]


def total(estimates: Sequence[Estimate]) -> tuple[float, float, float] | None:
    """The cost of all together; None where one of the prices is not known."""
    costs = [of.cost_usd for of in estimates if of.n_calls]
    if any(cost is None for cost in costs):
        return None
    known = [cost for cost in costs if cost is not None]
    low, expected, high = (sum(cost[k] for cost in known) for k in range(3))
    return low, expected, high


def dollars(usd: float) -> str:
    """An amount, with more digits the smaller it is."""
    if usd == 0 or usd >= 1:
        return f"${usd:,.2f}"
    return f"${usd:.4f}" if usd >= 0.0001 else "less than $0.0001"


def in_dollars(estimates: Sequence[Estimate]) -> str:
    """The cost of all together in words, low to high."""
    costs = total(estimates)
    if costs is None:
        return "whose price is not known; prices.toml can say it (docs/files.md)"
    if not any(costs):
        return "free of charge"
    return " – ".join(dollars(cost) for cost in costs) + " (low, expected, high)"


def spent(caller: Caller, advice: str = ". The same command with a higher budget goes on") -> str:
    """What a run has spent, in a line, and at the budget what can be done."""
    cost = dollars(caller.spent_usd)
    if caller.is_cost_unknown:
        cost = "cost not known" if not caller.spent_usd else f"at least {cost}"
        cost += " (a price is missing, or a server does not tell its tokens)"
    text = f"{caller.n_calls:,} {'call' if caller.n_calls == 1 else 'calls'} to models, {cost}"
    if caller.stopped:
        text += f"; stopped at the budget{_why_stopped(caller)}{advice}"
    return text


def _why_stopped(caller: Caller) -> str:
    """How much of the budget is left, and why it did not do."""
    budget = caller.budget
    if not budget.max_usd:
        return ""
    left = max(0.0, budget.left_usd)
    reserved = budget.max_usd - left - budget.spent_usd
    held = f"{dollars(reserved)} reserved for calls whose cost nobody has told, " * (
        reserved > 1e-12
    )
    return (
        f" of {dollars(budget.max_usd)}: {dollars(budget.spent_usd)} paid, {held}{dollars(left)} "
        f"left, and the next call needs {dollars(budget.needed_usd)}"
        + "; max_tokens, which is not set, would lower that"
        * (not budget.needed_is_limited)
    )
