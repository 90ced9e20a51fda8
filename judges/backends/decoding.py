"""Token choice and ending, row by row, so that no answer depends on the others in its batch.

The classes are called by `transformers.generate` after every step with all token ids so far
(rows × columns, prompts padded on the left).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from judges.backends.chat import seed_for

TAIL = 24  # tokens that are searched for a stop text; longer than any of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How the next token of one row is drawn; `begin` is the column of its first prompt token."""

    begin: int
    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    generator: torch.Generator

    @property
    def is_plain(self) -> bool:
        """Greedy, from the model's scores as they are."""
        return self.temperature == 0 and self.repetition_penalty == 1


def generator_for(seed: int, request_id: str) -> torch.Generator:
    """A source of noise of this request's own, on the CPU so that every device draws the same."""
    return torch.Generator().manual_seed(seed_for(seed, request_id))


class Chooser:
    """Leaves in the scores of each row only the token that is to come next.

    A token is drawn with Gumbel noise (the largest of score + noise has exactly the softmax's
    distribution): scores that differ in the last digits, as they do with another batch size, then
    still give the same token.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores as they are in plain rows, -inf but for the drawn token in the others."""
        chosen = scores.clone()
        for n, row in enumerate(self.rows):
            if not row.is_plain:
                token = _choose(row, input_ids[n, row.begin :], scores[n])
                chosen[n] = float("-inf")
                chosen[n, token] = 0.0
        return chosen


class Likeliest:
    """Writes down the likeliest tokens at every place of the rows that ask for some.

    `counts` is how many for each row; `found` holds for each row and new token the pairs of token
    and natural log-probability, the likeliest first.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        self.counts = counts
        self.found: list[list[list[tuple[int, float]]]] = [[] for _ in counts]

    def __call__(self, input_ids: object, scores: torch.Tensor) -> torch.Tensor:
        """The scores as they are."""
        for n, count in enumerate(self.counts):
            if count:
                best = scores[n].float().log_softmax(-1).topk(min(count, scores.shape[-1]))
                pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
                self.found[n].append([(token, float(logprob)) for token, logprob in pairs])
        return scores


def _choose(row: Row, seen: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    scores = scores.float()
    if row.repetition_penalty != 1:
        # Keskar et al. 2019, section 4.1, with negative scores made smaller, too.
        old = scores[seen]
        penalised = torch.where(old > 0, old / row.repetition_penalty, old * row.repetition_penalty)
        scores = scores.scatter(0, seen, penalised)
    if row.temperature == 0:
        return scores.argmax()
    scores = scores / row.temperature
    if 0 < row.top_k < len(scores):
        scores = scores.masked_fill(scores < scores.topk(row.top_k).values[-1], float("-inf"))
    if row.top_p < 1:
        ordered, tokens = scores.sort(descending=True, stable=True)
        share = ordered.softmax(-1)
        # A token goes when those above it make up top_p already; so the first one always stays.
        beyond = share.cumsum(-1) - share >= row.top_p
        beyond[0] = False
        scores = scores.masked_fill(beyond.scatter(0, tokens, beyond), float("-inf"))
    uniform = torch.rand(scores.shape, generator=row.generator)
    return (scores - (-uniform.log()).log().to(scores.device)).argmax()


class Ending:
    """Ends each row at its own limit of new tokens, or where a stop text appears.

    `ended` holds the number of new tokens at which a stop text was complete, by row.
    """

    def __init__(
        self,
        width: int,
        limits: Sequence[int],
        stops: Sequence[str],
        decode: Callable[[list[int]], str],
    ) -> None:
        self.width = width
        self.limits = torch.tensor(limits)
        self.stops = stops
        self.decode = decode
        self.ended: dict[int, int] = {}

    def __call__(self, input_ids: torch.Tensor, scores: object) -> torch.Tensor:
        written = input_ids.shape[1] - self.width
        if self.stops:
            for n, tail in enumerate(input_ids[:, self.width :][:, -TAIL:].tolist()):
                if n not in self.ended and any(stop in self.decode(tail) for stop in self.stops):
                    self.ended[n] = written
        done = self.limits <= written
        done[list(self.ended)] = True
        return done.to(input_ids.device)
