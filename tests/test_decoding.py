"""Tokens are chosen as transformers chooses them, row by row."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
import transformers
from scipy import stats

from judges.backends.decoding import Chooser, Ending, Row, generator_for


def row(**changes) -> Row:
    settings = {"begin": 0, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "repetition_penalty": 1.0}
    return Row(**{**settings, **changes}, generator=generator_for(0, "row"))


def draws(scores, count, **changes) -> Counter:
    """How often each token is chosen."""
    chooser = Chooser([row(**changes)])
    ids = torch.tensor([[0]])
    return Counter(int(chooser(ids, scores[None]).argmax()) for _ in range(count))


def test_tokens_are_drawn_by_their_probability():
    scores = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5])
    for temperature in (0.5, 1.0, 2.0):
        drawn = draws(scores, 4000, temperature=temperature)
        expected = 4000 * (scores.double() / temperature).softmax(-1).numpy()
        observed = np.array([drawn[token] for token in range(5)])
        assert stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-3


@pytest.mark.parametrize(("top_k", "top_p"), [(3, 1.0), (0, 0.7), (6, 0.5), (0, 1e-9), (1, 1.0)])
def test_truncation_keeps_what_transformers_keeps(top_k, top_p):
    scores = torch.randn(12, generator=torch.Generator().manual_seed(3)) * 1.5
    kept = scores[None]
    if top_k:
        kept = transformers.TopKLogitsWarper(top_k)(None, kept)
    if top_p < 1:
        kept = transformers.TopPLogitsWarper(top_p)(None, kept)
    expected = set(kept[0].isfinite().nonzero().flatten().tolist())
    assert set(draws(scores, 1500, top_k=top_k, top_p=top_p)) == expected


@pytest.mark.parametrize("scores", [[2.0, 1.9, -0.1, -3.0], [-1.0, -1.1, -1.3, -0.9]])
def test_repetition_penalty_is_that_of_transformers_without_the_padding(scores):
    chooser = Chooser([row(begin=2, temperature=0.0, repetition_penalty=1.3)])
    padded = torch.tensor([[1, 1, 0, 3]])
    penalised = transformers.RepetitionPenaltyLogitsProcessor(1.3)(
        padded[:, 2:], torch.tensor([scores])
    )
    assert int(chooser(padded, torch.tensor([scores])).argmax()) == int(penalised.argmax()) == 1


def test_greedy_rows_stay_as_they_are():
    scores = torch.tensor([[1.0, 3.0], [1.0, 3.0]])
    chosen = Chooser([row(temperature=0.0), row()])(torch.tensor([[0], [0]]), scores)
    assert chosen[0].tolist() == [1.0, 3.0]
    assert sorted(chosen[1].tolist()) == [float("-inf"), 0.0]


def test_a_generator_is_its_requests_own():
    first = [torch.rand(3, generator=generator_for(0, "a")).tolist() for _ in range(2)]
    assert first[0] == first[1]
    keys = [(0, "a"), (1, "a"), (0, "b"), (-1, "a"), (1, "0")]
    drawn = {tuple(torch.rand(3, generator=generator_for(*key)).tolist()) for key in keys}
    assert len(drawn) == len(keys)


def test_a_stop_text_may_lie_across_tokens():
    letters = "abcdefgh"
    ending = Ending(2, [9, 9, 3], ["cd"], lambda tokens: "".join(letters[t] for t in tokens))
    # The stop text in a prompt does not count, and each row ends once.
    ids = torch.tensor([[2, 3, 0, 2, 3, 0], [2, 3, 3, 2, 0, 0], [0, 0, 1, 1, 1, 1]])
    done = [ending(ids[:, : 2 + n], None).tolist() for n in range(1, 5)]
    assert done == [
        [False, False, False],
        [False, False, False],
        [True, False, True],
        [True, False, True],
    ]
    assert ending.ended == {0: 3}
