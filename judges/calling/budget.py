"""What calls cost, added up, and the stop at the budget.

Calls are made side by side as long as the budget holds the most that all of them can cost, near its
end one by one, and no more once the next one, at the mean of those before it, would not fit. Where
`max_tokens` is set, a budget is so passed by less than one call.

Where it is not set, nobody knows the most: a call counts as the dearest reply of its model so far,
and no more calls are under way than the model's replies so far and one. The budget can then be
passed by what calls under way cost beyond the dearest reply before them. A call that ended without
telling its tokens, as one that timed out, counts as the most that it could cost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from judges.backends.base import TOKENS_IF_UNLIMITED, Completion, Failure, Request
from judges.backends.runner import Call
from judges.backends.spec import ModelSpec
from judges.errors import UserError
from judges.reading import printable

if TYPE_CHECKING:
    from judges.calling.prices import Price, Prices

BUDGET = "stopped at the budget"
"""The reason of a call that was not made as the budget was used up."""

_CHARACTERS_A_TOKEN = 3


@dataclass(slots=True)
class _Paid:
    """What is known of the cost of a model's single calls."""

    n: int = 0
    """Calls whose cost is known."""
    usd: float = 0.0
    dearest_usd: float = 0.0


@dataclass(slots=True)
class _Reserved:
    """What is set aside for a call under way."""

    usd: float
    unlimited: str | None
    """The model's key where the call has no `max_tokens`: it may cost more."""


class Budget:
    """An account of all calls to servers; changed on the event loop alone."""

    def __init__(self, max_usd: float | None) -> None:
        if max_usd is not None and not max_usd >= 0:
            raise UserError(f"--max-cost {max_usd}: a number of dollars, 0 or more, is needed")
        self.max_usd = max_usd
        self.n_calls = 0
        """Calls that are charged for, as far as one knows: those that timed out are among them."""
        self.spent_usd = 0.0
        """What they cost, as far as it is known."""
        self.is_unknown = False
        """Whether a call had no known price."""
        self.is_used_up = False
        """Whether a call was not made for want of money."""
        self.needed_usd = 0.0
        """What would have had to be left for it."""
        self.needed_is_limited = True
        """Whether its reply was limited by `max_tokens`, by which that is reckoned."""
        self.batched_usd = 0.0
        """The most that batches can cost whose results have not come yet."""
        self._unpriced_usd = 0.0
        """The most that calls can have cost whose tokens the server did not tell."""
        self._reserved: dict[Call, _Reserved] = {}
        self._paid: dict[str, _Paid] = {}  # by the key of the model

    @property
    def left_usd(self) -> float:
        """What may still be spent, calls under way not counted; infinite without a budget."""
        most = float("inf") if self.max_usd is None else self.max_usd
        return most - self.spent_usd - self._unpriced_usd - self.batched_usd

    def paid(self, model: str) -> _Paid:
        """What is known of the model with this key."""
        return self._paid.setdefault(model, _Paid())

    def reserve(self, call: Call, model: str, most_usd: float) -> Literal["send", "wait"] | Failure:
        """Whether the call may be made now, later, or not at all. It is expected to cost the mean
        of the model's calls before it, to which the most that it can cost counts as one more."""
        if self.max_usd is None:
            self._reserved[call] = _Reserved(0.0, None)
            return "send"
        paid = self.paid(model)
        needed = (paid.usd + most_usd) / (paid.n + 1)
        if needed > self.left_usd:
            self.is_used_up = True
            self.needed_usd, self.needed_is_limited = needed, bool(call.request.sampling.max_tokens)
            return Failure(BUDGET)
        under_way = self._reserved.values()
        if under_way and sum(of.usd for of in under_way) + most_usd > self.left_usd:
            return "wait"
        unlimited = None if call.request.sampling.max_tokens else model
        if unlimited and sum(of.unlimited == model for of in under_way) > paid.n:
            return "wait"
        self._reserved[call] = _Reserved(most_usd, unlimited)
        return "send"

    def settle(
        self, call: Call, model: str, completion: Completion | None, usd: float | None
    ) -> None:
        """The call has ended; `usd` is what its completion cost, None where that is not known."""
        reserved = self._reserved.pop(call)
        if completion is None:
            return
        self.book(usd, reserved.usd)
        if usd is None:
            return
        paid = self.paid(model)
        paid.n += 1
        paid.usd += usd
        if usd > paid.dearest_usd:
            paid.dearest_usd = usd
            for of in self._reserved.values():
                if of.unlimited == model:
                    of.usd = max(of.usd, usd)

    def book(self, usd: float | None, most_usd: float) -> None:
        """A completion has come; where its cost is not known, it counts as the most it can be."""
        self.n_calls += 1
        if usd is None:
            self.is_unknown = True
            self._unpriced_usd += most_usd
        else:
            self.spent_usd += usd


class BudgetGate:
    """Lets the calls to one model through as long as they can be paid for; fills in their cost.

    With `batch` prices are those of the provider's batch service. Raises UserError where there is a
    budget and no price.
    """

    def __init__(
        self, budget: Budget, spec: ModelSpec, prices: Prices | None, *, batch: bool = False
    ) -> None:
        self.budget = budget
        self.spec = spec
        self.prices = prices
        self.batch = batch
        self._model = spec.key
        self._by_served: dict[str | None, Price | None] = {}
        price = self._price(None) if budget.max_usd is not None else None
        unknown = price is None or (batch and price.batch is None and price.input + price.output)
        if budget.max_usd is not None and unknown:
            raise UserError(
                f"{printable(spec.spec)}: its price{' in batches' if batch else ''} is not known, "
                "so that no budget can be kept. "
                "Add it to prices.toml (see docs/files.md), or go without a budget"
            )

    def admit(self, call: Call) -> Literal["send", "wait"] | Failure:
        """Reserves the most that the call can cost."""
        return self.budget.reserve(call, self._model, self.most(call.request))

    def ended(self, call: Call, completion: Completion | None) -> Completion | None:
        """Books what the call cost."""
        usd = None
        if completion is not None:
            completion = self.priced(completion)
            usd = completion.cost_usd
        self.budget.settle(call, self._model, completion, usd)
        return completion

    def priced(self, completion: Completion) -> Completion:
        """The completion with what it cost."""
        price = self._price(completion.served)
        usd = None if price is None else price.cost(completion, self.batch)
        return replace(completion, cost_usd=usd)

    def _price(self, served: str | None) -> Price | None:
        if self.prices is not None and served not in self._by_served:
            self._by_served[served] = self.prices.of(self.spec, served)
        return self._by_served.get(served)

    def most(self, request: Request) -> float:
        """The most that the call can cost, in USD; 0 where there is no budget."""
        if self.budget.max_usd is None:
            return 0.0
        price = self._price(None)
        assert price is not None
        characters = sum(len(turn.content) for turn in request.messages)
        tokens = request.sampling.max_tokens or TOKENS_IF_UNLIMITED
        most = price.of_tokens(characters / _CHARACTERS_A_TOKEN, tokens, batch=self.batch)
        # Beyond the longest prompt that the price is for, it is at least that price.
        most = most if most is not None else characters * price.input / 1e6
        if request.sampling.max_tokens:
            return most
        share = (price.batch or 0.0) if self.batch else 1.0
        return max(most, share * self.budget.paid(self._model).dearest_usd)
