"""Which of a pair's answers has more of something that may sway a judge: length, lists, kinship."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from judges.calling.prices import family_of
from judges.schema import Comparison, Output
from leaderboard.rows.columns import MEASURES
from leaderboard.statistics.preference_biases import LONGER, has_more
from leaderboard.statistics.uncertainty import Floats


def more_of(name: str, pairs: Sequence[Comparison]) -> Floats:
    """By one of `MEASURES`: 1 where output 2 has more, -1 where output 1 has, 0 where neither.

    As AlpacaEval counts: longer by more than 30 characters; lists and Markdown, where one of the
    two answers has any and the other has none.
    """
    one, two = (
        np.array([MEASURES[name](Output(instruction_id="", generator="", text=t)) for t in texts])
        for texts in ([p.output_1 for p in pairs], [p.output_2 for p in pairs])
    )
    return has_more(one, two, LONGER) if name == "length" else has_more(one > 0, two > 0)


def own_answers(model: str, family: str, pairs: Sequence[Comparison]) -> dict[str, Floats]:
    """Which answer is of the judge's own model, and which of its family; only what occurs."""
    ways: dict[str, tuple[str, Callable[[str], str]]] = {
        "its own": (_plain(model), _plain),
        "its family's": (family, lambda generator: family_of(generator) or ""),
    }
    found = {}
    for what, (own, of) in ways.items():
        one = [of(pair.generator_1) == own for pair in pairs]
        two = [of(pair.generator_2) == own for pair in pairs]
        feature = has_more(one, two)
        if own and feature.any():
            found[what] = feature
    return found


def _plain(model: str) -> str:
    """Without the provider: openai/NAME and NAME are one model."""
    return model.rpartition("/")[2].casefold()
