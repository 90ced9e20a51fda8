"""Who judges on the farm: 16 synthetic people, and 13 simulators that are to stand in for them.

Both read the gold criteria in part and with mistakes, and have tastes of their own. People see most
of what matters, and four of them judge a pair. Simulators see less, misread more, and each is given
to something: length, brevity, lists or the first place; one of them judges a pair, and `leaderboard
annotate --flip 0.25` puts a coin in the place of every other label. All parameters are drawn by a
hash of the annotator's name, so that no two of them share one, within a population or between them.

The two temperatures are the only figures that were fitted, on pairs of distinct answers of the
demonstrators (`python -m train_baselines.farm.agreement`): one person against the mode of three
others agrees on 66 % of pairs, as AlpacaFarm's did (arXiv:2305.14387), and one simulator against the
mode of three people on 65 %.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from judges.base import stable_fraction

PEOPLE_TEMPERATURE = 0.07
SIMULATORS_TEMPERATURE = 0.1
FORM = ("words", "items", "contains", "starts_with", "ends_with", "sentences")
"""The kinds of criteria that are wishes about the form."""
_LEANINGS = (
    "long", "first", "plain", "lists", "short", "first", "long", "plain", "first", "lists",
    "short", "long", "first",
)  # fmt: skip
"""What each simulator is given to."""


def people(temperature: float = PEOPLE_TEMPERATURE, length_taste: float = 1.0) -> dict[str, Any]:
    """The panel of the people, as in a panel file; four of them judge an item.

    `length_taste` multiplies everyone's taste for length: 0 is a world without it.
    """
    judges = []
    for number in range(1, 17):
        draw = _draws(f"person-{number}")
        is_biased = number % 4 == 0
        judges.append(
            _annotator(
                f"person-{number}",
                {
                    "regex": draw("regex", 0.7, 1.5),
                    **_read(draw, dict.fromkeys(FORM, 0.75), 0.3, 1.3),
                    **_read(draw, {"omits": 0.85, "no_repetition": 0.7}, 0.3, 1.3),
                },
                temperature=temperature * draw("temperature", 0.7, 1.3),
                slip=draw("slip", 0.02, 0.12),
                length=length_taste * draw("length", -0.02, 0.07),
                lists=draw("lists", -0.03, 0.07),
                first=draw("first", 0.02, 0.12) if is_biased else 0.0,
                ties=draw("ties", 0.1, 0.5),
            )
        )
    return _panel("16 synthetic people, four of them an item", 4, judges)


def simulators(
    temperature: float = SIMULATORS_TEMPERATURE, length_taste: float = 1.0
) -> dict[str, Any]:
    """The panel of the simulators; one of them judges an item, and none calls a tie."""
    judges = []
    for number, leaning in enumerate(_LEANINGS, 1):
        draw = _draws(f"simulator-{number}")
        length = {"long": (0.04, 0.1), "short": (-0.08, -0.03)}.get(leaning, (-0.02, 0.02))
        judges.append(
            _annotator(
                f"simulator-{number}",
                {
                    "regex": draw("regex", 0.6, 1.2),
                    **_read(draw, dict.fromkeys(FORM, 0.5), 0.2, 1.0),
                    **_read(draw, {"omits": 0.75, "no_repetition": 0.6}, 0.2, 1.2),
                },
                temperature=temperature * draw("temperature", 0.6, 1.4),
                slip=draw("slip", 0.03, 0.14),
                length=length_taste * draw("length", *length),
                lists=draw("lists", 0.05, 0.2) if leaning == "lists" else 0.0,
                first=draw("first", 0.05, 0.2) if leaning == "first" else 0.0,
                ties=0.0,
            )
        )
    return _panel("13 simulators of them, one of them an item", "one", judges)


def _draws(name: str) -> Callable[[str, float, float], float]:
    """A draw in a range for each parameter of an annotator."""
    return lambda what, low, high: round(low + (high - low) * stable_fraction(0, name, what), 6)


def _read(
    draw: Callable[[str, float, float], float], rates: Mapping[str, float], low: float, high: float
) -> dict[str, float]:
    """Weights of the kinds that the annotator looks at, each with its own chance to be one."""
    seen = [kind for kind, rate in rates.items() if draw(f"looks at {kind}", 0, 1) < rate]
    return {kind: draw(kind, low, high) for kind in seen}


def _annotator(name: str, criteria: Mapping[str, float], **tastes: float) -> dict[str, Any]:
    rounded = {key: round(value, 6) for key, value in tastes.items()}
    return {"kind": "synthetic", "name": name, **rounded, "criteria": dict(criteria)}


def _panel(note: str, assign: int | str, judges: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "note": note,
        "aggregate": "mean",
        "assign": assign,
        "judges": judges,
    }
