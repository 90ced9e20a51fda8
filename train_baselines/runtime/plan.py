"""Which examples make up a step, and who computes what: pure functions of lengths and a seed.

A step is the examples behind one move of the optimiser. They are drawn at random; only inside a
step are they sorted by length, so that rows of like length are padded together and yet no example
is more often than another in the company of those as long as it is.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Row(Protocol):
    """One example: what is trained on, as token ids."""

    @property
    def length(self) -> int:
        """Padded tokens that it takes in a forward pass if it is the longest there."""

    @property
    def n_tokens(self) -> int:
        """Tokens without padding."""

    @property
    def weight(self) -> float:
        """What it weighs in the mean loss of its step: its tokens, or 1."""

    @property
    def where(self) -> str:
        """Where it is from, for people: a file and a line."""


R = TypeVar("R", bound=Row)
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Batch(Generic[T_co]):
    """Examples for one forward and backward pass of this process."""

    rows: Sequence[T_co]
    share: float
    """The part of its step that it is: the weight of its rows over the mean weight that a process
    has in the step. Shares of a step add up to 1 a process, on the mean."""
    is_last: bool
    """With it the step ends: processes exchange gradients, and the optimiser moves."""


@dataclass(frozen=True, slots=True)
class Share:
    """A batch by the numbers of its rows."""

    rows: tuple[int, ...]
    share: float


def steps_of_epoch(n: int, size: int, *, seed: int, epoch: int) -> list[list[int]]:
    """The numbers 0..n-1, shuffled, `size` to a step; the last one may be smaller."""
    key = hashlib.blake2b(f"{seed}\0{epoch}".encode(), digest_size=8).digest()
    order = list(range(n))
    random.Random(int.from_bytes(key, "big")).shuffle(order)
    return [order[begin : begin + size] for begin in range(0, n, size)]


def rows_of_steps(n: int, size: int, steps: range, *, seed: int) -> Iterator[list[int]]:
    """The numbers of each of these steps, which count on from epoch to epoch."""
    per_epoch = math.ceil(n / size)
    epoch, order = -1, []
    for step in steps:
        if step // per_epoch != epoch:
            epoch = step // per_epoch
            order = steps_of_epoch(n, size, seed=seed, epoch=epoch)
        yield order[step % per_epoch]


def deal(rows: Sequence[int], lengths: Sequence[int], world: int) -> list[list[int]]:
    """The rows of a step for each process, the longest first: about as many tokens to each."""
    order = sorted(rows, key=lambda row: (-lengths[row], row))
    return [order[rank::world] for rank in range(world)]


_WORTH_A_PASS = 16
"""A batch with this part of the budget may be closed for the sake of less padding."""


def cut(
    rows: Sequence[int], lengths: Sequence[int], budget: int, *, packed: bool = False
) -> list[list[int]]:
    """The rows, longest first, in batches of at most `budget` tokens, padding counted.

    A row that would be padding for more than a third begins a new batch, once there is enough in the
    old one to be worth a pass. Packed rows are laid end to end and have no padding. A row above the
    budget stands alone.
    """
    batches: list[list[int]] = []
    used = longest = 0
    for row in sorted(rows, key=lambda row: (-lengths[row], row)):
        is_short = not packed and used >= budget // _WORTH_A_PASS and 3 * lengths[row] < 2 * longest
        width = lengths[row] if packed else longest
        if not batches or is_short or used + width > budget:
            batches.append([])
            used, longest = 0, lengths[row]
            width = longest
        batches[-1].append(row)
        used += width
    return batches


def shares(
    dealt: Sequence[Sequence[int]],
    lengths: Sequence[int],
    weights: Sequence[float],
    budget: int,
    *,
    packed: bool = False,
) -> list[list[Share]]:
    """The batches of every process for one step, equally many for each.

    The loss of a step is the mean over the weights of all its rows in all processes, whatever its
    batches: each batch's share says how much its own mean counts. A process that runs out of rows
    computes one once more, for a share of 0, since the others wait for it.
    """
    cuts = [cut(rows, lengths, budget, packed=packed) for rows in dealt]
    most = max(map(len, cuts))
    total = math.fsum(weights[row] for rows in dealt for row in rows)
    spare = next(rows[-1] for rows in dealt if rows)
    planned = []
    for batches in cuts:
        while len(batches) < most and any(len(batch) > 1 for batch in batches):
            largest = max(batches, key=len)
            half = len(largest) // 2
            batches.append(largest[half:])
            del largest[half:]
        own = [
            Share(tuple(b), math.fsum(weights[row] for row in b) * len(dealt) / total)
            for b in batches
        ]
        planned.append([*own, *[Share((spare,), 0.0)] * (most - len(own))])
    return planned
