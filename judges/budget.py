"""What calls cost, added up, and the stop at the budget.

Calls are made side by side as long as the budget holds the most that all of them can cost, near its
end one by one, and no more once the next one, at the mean of those before it, would not fit. So a
budget is passed by less than one call.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from judges.backends.base import Completion, Failure, Request
from judges.backends.runner import Call
from judges.backends.spec import ModelSpec
from judges.errors import UserError
from judges.reading import printable

if TYPE_CHECKING:
    from judges.prices import Price, Prices

BUDGET = "stopped at the budget"
"""The reason of a call that was not made as the budget was used up."""

_TOKENS_IF_UNLIMITED = 4096
"""A reply without a limit is taken to have so many tokens, until a dearer one has come."""
_CHARACTERS_A_TOKEN = 3


class Budget:
    """An account of all calls to servers; changed on the event loop alone."""

    def __init__(self, max_usd: float | None) -> None:
        if max_usd is not None and not max_usd >= 0:
            raise UserError(f"--max-cost {max_usd}: a number of dollars, 0 or more, is needed")
        self.max_usd = max_usd
        self.n_calls = 0
        """Calls that brought a completion."""
        self.spent_usd = 0.0
        """What they cost, as far as it is known."""
        self.is_unknown = False
        """Whether a call had no known price."""
        self.is_used_up = False
        """Whether a call was not made for want of money."""
        self.batched_usd = 0.0
        """The most that batches can cost whose results have not come yet."""
        self._unpriced_usd = 0.0
        """The most that calls can have cost whose tokens the server did not tell."""
        self._reserved: dict[Call, float] = {}
        self._reserved_usd = 0.0

    @property
    def left_usd(self) -> float:
        """What may still be spent, calls under way not counted; infinite without a budget."""
        most = float("inf") if self.max_usd is None else self.max_usd
        return most - self.spent_usd - self._unpriced_usd - self.batched_usd

    def reserve(
        self, call: Call, expected_usd: float, most_usd: float
    ) -> Literal["send", "wait"] | Failure:
        """Whether the call may be made now, later, or not at all."""
        if expected_usd > self.left_usd:
            self.is_used_up = True
            return Failure(BUDGET)
        if self._reserved and self._reserved_usd + most_usd > self.left_usd:
            return "wait"
        self._reserved[call] = most_usd
        self._reserved_usd += most_usd
        return "send"

    def settle(self, call: Call, completion: Completion | None, usd: float | None) -> None:
        """The call has ended; `usd` is what its completion cost, None where that is not known."""
        reserved = self._reserved.pop(call)
        self._reserved_usd = self._reserved_usd - reserved if self._reserved else 0.0
        if completion is not None:
            self.book(usd, reserved)

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

    A call is expected to cost the mean of those before it, to which the most that it can cost
    counts as one more. With `batch` prices are those of the provider's batch service. Raises
    UserError where there is a budget and no price.
    """

    def __init__(
        self, budget: Budget, spec: ModelSpec, prices: Prices | None, *, batch: bool = False
    ) -> None:
        self.budget = budget
        self.spec = spec
        self.prices = prices
        self.batch = batch
        self._by_served: dict[str | None, Price | None] = {}
        self._spent_usd, self._n_priced, self._dearest_usd = 0.0, 0, 0.0
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
        most = self.most(call.request)
        expected = (self._spent_usd + most) / (self._n_priced + 1)
        return self.budget.reserve(call, expected, most)

    def ended(self, call: Call, completion: Completion | None) -> Completion | None:
        """Books what the call cost."""
        usd = None
        if completion is not None:
            completion = self.priced(completion)
            usd = completion.cost_usd
        if usd is not None:
            self._spent_usd += usd
            self._n_priced += 1
            self._dearest_usd = max(self._dearest_usd, usd)
        self.budget.settle(call, completion, usd)
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
        tokens = request.sampling.max_tokens or _TOKENS_IF_UNLIMITED
        most = price.of_tokens(characters / _CHARACTERS_A_TOKEN, tokens, batch=self.batch)
        # Beyond the longest prompt that the price is for, it is at least that price.
        most = most if most is not None else characters * price.input / 1e6
        return most if request.sampling.max_tokens else max(most, self._dearest_usd)
