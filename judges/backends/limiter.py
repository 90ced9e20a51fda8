"""How many calls a server bears at once, learnt from what it says.

Additive increase, multiplicative decrease, as in TCP: the number doubles with each round of calls
until the server first says that it is too many, and from then on creeps up again.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass

from judges.errors import UserError

PROBE_RETRIES = 5
"""A question that a model is tried with is given up after half a minute: nothing hangs on it yet."""
TIMEOUT_VARIABLE = "HERDBOOK_TIMEOUT_S"
"""The environment variable that says how long one call may take."""
_CUT = 0.5
"""What is left of the number of calls when the server says that it is too many."""
_GROWTH = 4.0
"""By how many calls the number then grows in each round."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How hard a server is driven, and with how much patience."""

    max_in_flight: int = 256
    """Calls under way at once, at most."""
    start_in_flight: int = 64
    retries: int = 8
    """How often a failed call is made again: twice as often where the server has too much to do,
    as it is then the pace that is wrong, a quarter as often where each attempt is dear."""
    timeout_s: float = 600.0
    """How long one call may take."""
    longest_wait_s: float = 120.0
    """A server that asks to wait for longer is not waited for."""
    brake_after: int = 20
    """So many failures in a row without a completion, and the server is taken to have too much to
    do, whatever it says; where slowing down does not help either, it is given up."""


def own_limits() -> Limits:
    """The limits, with the time for one call that the environment sets."""
    given = os.environ.get(TIMEOUT_VARIABLE, "").strip()
    if not given:
        return Limits()
    try:
        timeout_s = float(given)
    except ValueError:
        timeout_s = 0.0
    if not 0 < timeout_s < float("inf"):
        raise UserError(f"{TIMEOUT_VARIABLE}={given}: a number of seconds above 0 is needed")
    return Limits(timeout_s=timeout_s)


class Limiter:
    """The state of one server, shared by all who call it; used on the event loop alone."""

    def __init__(self, limits: Limits, now: Callable[[], float]) -> None:
        self.limits = limits
        self.now = now
        self.allowed = float(max(1, min(limits.start_in_flight, limits.max_in_flight)))
        self.in_flight = 0
        self.open_at = 0.0
        """By `now`: nothing is sent before."""
        self.cuts = 0
        self.is_given_up = False
        """Slowing down did not help. One call at a time is let through, until one succeeds."""
        self._is_busy = False
        self._cuts_in_a_row = 0
        self._failures_in_a_row = 0

    @property
    def wait_s(self) -> float:
        """For how long the server is still to be left alone."""
        return max(0.0, self.open_at - self.now())

    def may_send(self) -> bool:
        """Whether one more call may be sent now."""
        allowed = 1 if self.is_given_up else int(self.allowed)
        return self.in_flight < allowed and self.wait_s == 0

    def begin(self) -> int:
        """Count a call as under way; what comes back is for `failed`, if it comes to that."""
        self.in_flight += 1
        self._is_busy = 2 * self.in_flight > self.allowed
        return self.cuts

    def cancelled(self) -> None:
        """A call that was under way ended, and nothing is to be learnt from it."""
        self.in_flight -= 1

    def succeeded(self) -> None:
        """A call that was under way brought a completion."""
        self.in_flight -= 1
        self.is_given_up = False
        self._cuts_in_a_row = self._failures_in_a_row = 0
        if self._is_busy:  # else nothing is known of a larger number
            growth = 1.0 if self.cuts == 0 else _GROWTH / self.allowed
            self.allowed = min(self.allowed + growth, float(self.limits.max_in_flight))

    def failed(self, cuts: int, *, slow_down: bool, after: float | None, patience: int) -> None:
        """A call that was under way failed in a way that a server can recover from.

        `slow_down` and `after`: the server says that it has too much to do, and asks for so many
        seconds of peace. `cuts` is what `begin` gave: calls that were sent before the last cut say
        nothing new. With each cut the server is left alone for a moment at least, longer each time
        until a call succeeds; after `patience` cuts it is given up.
        """
        self.in_flight -= 1
        self._failures_in_a_row += 1
        if not slow_down and self._failures_in_a_row < self.limits.brake_after:
            return
        if cuts == self.cuts:
            self.cuts += 1
            self.allowed = max(1.0, self.allowed * _CUT)
            if not self.is_given_up:  # else a single call asks whether it is well again
                after = max(after or 0.0, backoff(self._cuts_in_a_row))
            self._cuts_in_a_row += 1
        if after is not None:
            self.open_at = max(self.open_at, self.now() + after)
        self.is_given_up |= self._cuts_in_a_row > patience and self.in_flight == 0

    def exhausted(self, patience: int) -> None:
        """The last request of a consumer has failed for the last time: without a completion since
        its first attempt, and with nothing else under way, the server is given up."""
        self.is_given_up |= self._failures_in_a_row > patience and self.in_flight == 0


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures before: 0.5, 1, 2, … 30, less up to a half of it.

    The half is drawn, so that calls that failed together do not come back together.
    """
    longest = min(_FIRST_WAIT_S * 2.0 ** min(failures, 30), _LONGEST_WAIT_S)
    return longest * (1 - random.random() / 2)
