"""The checklist judge: shares of the checks met, ties, and what it refuses."""

from __future__ import annotations

import json

import pytest
from conftest import comparison, exchanged, one_preference
from hypothesis import given
from hypothesis import strategies as st

from judges.errors import UserError
from judges.kinds.checklist import Checklist
from judges.schema import Instruction, Message


@pytest.mark.parametrize(
    ("one", "two", "preference"),
    [
        ("blue", "red", 1 / (1 + 2.718281828459045**-3)),  # shares 0.25 and 1
        ("red and a bit more", "red", 1 / (1 + 2.718281828459045**-1)),  # 0.75 and 1
        ("red", "a red one", 0.5),
        ("", "", 0.5),
        ("red", "", 1 / (1 + 2.718281828459045**4)),
    ],
)
def test_the_checklist_prefers_the_larger_share(one, two, preference):
    assert one_preference(Checklist(), comparison(one, two)) == pytest.approx(preference)


@pytest.mark.parametrize("difference", [0, 0.05, 0.1 + 0.2 - 0.25])
def test_differences_within_the_tie_band_are_ties(difference):
    assert Checklist().preference(0.5, 0.5 + difference) == 0.5
    assert Checklist(tie_band=0).preference(0.5, 0.5 + 1e-6) > 0.5


SHARES = st.floats(0, 1)


@given(a=SHARES, b=SHARES, c=SHARES, temperature=st.floats(1e-300, 1e300), band=st.floats(0, 0.99))
def test_the_checklist_map_is_monotone_and_turns_with_the_sides(a, b, c, temperature, band):
    p = Checklist(temperature=temperature, tie_band=band).preference
    assert 0 <= p(a, b) <= 1
    assert p(b, a) == pytest.approx(1 - p(a, b), abs=1e-12)
    low, high = sorted((b, c))
    assert p(a, low) <= p(a, high)


@pytest.mark.parametrize(
    "settings",
    [
        *({"temperature": t} for t in (0, -0.25, float("nan"), float("inf"))),
        *({"tie_band": t} for t in (-0.1, 1, float("nan"))),
    ],
)
def test_a_checklist_without_a_usable_map_is_refused(settings):
    with pytest.raises(UserError, match=f"{next(iter(settings))} must lie"):
        Checklist(**settings)


def test_a_checklist_needs_checks():
    bare = Instruction(id="i", messages=(Message("user", "Go"),))
    assert "no checks" in (Checklist().obstacle(bare) or "")
    assert Checklist().obstacle(comparison().instruction) is None


def test_all_that_changes_a_checklist_verdict_is_in_its_identity():
    made = [Checklist(), Checklist(tie_band=0.1), Checklist(temperature=0.5)]
    assert len({json.dumps(dict(judge.identity())) for judge in made}) == 3
    assert Checklist(name="other").identity() == Checklist().identity()


ANSWERS = st.sampled_from(["", "red", "blue", "a red one or two", "\ud83d", "RED"])


@given(one=ANSWERS, two=ANSWERS)
def test_exchanging_the_outputs_turns_the_preference(one, two):
    pair = comparison(one, two)
    turned = one_preference(Checklist(), exchanged(pair))
    assert turned == pytest.approx(1 - (one_preference(Checklist(), pair) or 0), abs=1e-12)
