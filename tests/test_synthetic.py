"""Synthetic annotators: what they see, their tastes, their noise; panels that draw several."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations
from math import exp
from pathlib import Path

import pytest
from conftest import write_rows

from judges.errors import UserError
from judges.kinds.synthetic import Synthetic
from judges.panel import Panel
from judges.registry import make_panel
from judges.schema import Instruction, Message

CHECKS = (
    {"kind": "contains", "all": ["seven"], "weight": 3},
    {"kind": "omits", "terms": ["weather"]},
)
ASKED = Instruction(id="x", messages=(Message("user", "How many?"),), checks=CHECKS)
RIGHT, WRONG, IDLE = "It is seven.", "It is nine.", "It is seven. Nice weather."
CLEAR = Synthetic(name="clear", temperature=0, criteria={"contains": 1.0, "omits": 1.0})


def preference(judge: Synthetic, first: str, second: str, asked: Instruction = ASKED) -> float:
    return judge.verdict(judge.lead(asked, first, second), judge.noise(asked, first, second))


def many(n: int) -> list[Instruction]:
    return [replace(ASKED, messages=(Message("user", f"How many, {i}?"),)) for i in range(n)]


def test_without_noise_it_prefers_what_meets_more_by_its_own_weights():
    assert CLEAR.utility(ASKED, RIGHT) == 1
    assert CLEAR.utility(ASKED, IDLE) == 0.75
    assert CLEAR.utility(ASKED, WRONG) == 0.25
    assert CLEAR.utility(ASKED, "  ") == 0
    assert preference(CLEAR, WRONG, RIGHT) == 1
    assert preference(CLEAR, RIGHT, IDLE) == 0
    assert preference(CLEAR, RIGHT, "Seven.") == 0.5
    partial = replace(CLEAR, criteria={"omits": 1.0})
    assert preference(partial, IDLE, WRONG) == 1  # it does not see what is right


@pytest.mark.parametrize(
    ("taste", "less", "more"),
    [
        ({"length": 0.1}, RIGHT, "It is seven, as far as I can see."),
        ({"lists": 0.1}, "seven, eight", "- seven\n- eight"),
    ],
)
def test_tastes_decide_between_answers_of_equal_merit(taste, less, more):
    assert preference(CLEAR, less, more) == 0.5
    assert preference(replace(CLEAR, **taste), less, more) == 1
    assert preference(replace(CLEAR, **{k: -v for k, v in taste.items()}), less, more) == 0


def test_only_a_taste_for_the_first_place_knows_the_order():
    biased = replace(CLEAR, first=0.1)
    assert not CLEAR.sees_order
    assert biased.sees_order
    assert preference(biased, RIGHT, "Seven.") == preference(biased, "Seven.", RIGHT) == 0
    assert preference(biased, WRONG, RIGHT) == 1
    assert preference(biased, RIGHT, RIGHT) == 0.5


def test_the_noise_is_bradley_terrys():
    judge = replace(CLEAR, temperature=0.5)
    lead = 0.75
    share = sum(preference(judge, WRONG, RIGHT, asked) for asked in many(4000)) / 4000
    assert share == pytest.approx(1 / (1 + exp(-lead / 0.5)), abs=0.02)


def test_ties_are_as_frequent_as_their_band_is_wide():
    judge = replace(CLEAR, temperature=0.5, ties=1.0)
    found = Counter(preference(judge, RIGHT, "Seven.", asked) for asked in many(4000))
    half = 1 / (1 + exp(1.0))
    assert found[0.5] / 4000 == pytest.approx(1 - 2 * half, abs=0.03)
    assert found[1] / 4000 == pytest.approx(half, abs=0.03)


def test_a_criterion_is_misread_at_the_rate_of_slips():
    judge = replace(CLEAR, slip=0.2, criteria={"contains": 1.0})
    read = Counter(judge.utility(asked, RIGHT) for asked in many(4000))
    assert set(read) == {0, 0.75}
    assert read[0] / 4000 == pytest.approx(0.2, abs=0.02)


def test_exchanging_the_answers_exchanges_the_verdict():
    judge = replace(CLEAR, temperature=0.7, slip=0.1, ties=0.3, length=0.05)
    for asked in many(200):
        assert preference(judge, WRONG, RIGHT, asked) == 1 - preference(judge, RIGHT, WRONG, asked)


def test_annotators_are_independent_of_one_another_and_the_same_in_every_run():
    judges = [replace(CLEAR, name=name, temperature=50.0) for name in ("a", "b")]
    labels = [[preference(judge, RIGHT, WRONG, asked) for asked in many(4000)] for judge in judges]
    assert sum(a == b for a, b in zip(*labels, strict=True)) / 4000 == pytest.approx(0.5, abs=0.03)
    assert [preference(judges[0], RIGHT, WRONG, a) for a in many(50)] == labels[0][:50]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"criteria": {"contain": 1.0}}, "no criterion is of the kind 'contain'; known: exact"),
        ({"slip": 0.6}, "slip must lie in 0..0.5"),
        ({"temperature": -1.0}, "temperature and ties must not lie below 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        replace(CLEAR, **changes)


@pytest.mark.parametrize("checks", [(), ({"kind": "ask", "question": "Polite?"},)])
def test_it_judges_nothing_that_it_cannot_read(checks):
    assert CLEAR.obstacle(ASKED) is None
    assert CLEAR.obstacle(replace(ASKED, checks=checks))


# --------------------------------------------------------------------- panels that draw several
TABLES = [{"kind": "synthetic", "name": f"s{n}", "temperature": 1.0} for n in range(6)]


def panel(assign: object) -> Panel:
    return make_panel({"assign": assign, "judges": TABLES}, Path())


def test_so_many_different_judges_are_drawn_evenly_and_for_good():
    drawn = [[judge.name for judge in panel(3).assigned(asked, 0)] for asked in many(600)]
    assert all(len(set(names)) == 3 for names in drawn)
    assert drawn[:50] == [[j.name for j in panel(3).assigned(a, 0)] for a in many(50)]
    sets = Counter(tuple(sorted(names)) for names in drawn)
    assert set(sets) == set(combinations([table["name"] for table in TABLES], 3))
    assert max(sets.values()) < 60  # of 30 each
    assert (panel(3).assignment(many(9), 0).sum(axis=1) == 3).all()
    assert panel(3).votes == 3
    assert panel(3).called == "a panel of 6, 3 of them an item"


def test_the_first_of_several_is_the_one():
    for asked in many(100):
        assert panel("one").assigned(asked, 5) == panel(3).assigned(asked, 5)[:1]


def test_those_left_out_are_replaced_and_where_few_are_left_all_judge():
    for asked in many(100):
        names = {judge.name for judge in panel(3).assigned(asked, 0)}
        others = {judge.name for judge in panel(3).assigned(asked, 0, excluded=["s2"])}
        assert len(others) == 3
        assert names - {"s2"} <= others
        assert len(panel(3).assigned(asked, 0, excluded=["s0", "s1", "s2", "s3"])) == 2


@pytest.mark.parametrize("assign", [1, 7, True, 2.0, "two", []])
def test_a_number_of_judges_that_cannot_be_drawn_is_refused(assign):
    with pytest.raises(
        UserError, match=r"unknown assign .* known: all, one, and numbers from 2 to 6"
    ):
        panel(assign)


def test_how_many_are_drawn_is_in_the_identity():
    identities = [panel(assign).identity() for assign in ("all", "one", 2, 3)]
    assert len({str(identity) for identity in identities}) == 4


# --------------------------------------------------------------------------- leaderboard annotate
def test_pairs_are_judged_by_the_checks_that_stand_beside_them(leaderboard, tmp_path):
    rows = [
        {"prompt": f"How many, {n}?", "output_1": WRONG, "output_2": RIGHT, "checks": CHECKS}
        for n in range(20)
    ]
    pairs = write_rows(tmp_path / "pairs.jsonl", rows)
    (tmp_path / "own.toml").write_text(
        'kind = "synthetic"\nname = "own"\ntemperature = 0.0\ncriteria = { contains = 1.0 }\n'
    )
    out = tmp_path / "prefs.jsonl"
    done = leaderboard("annotate", pairs, "--panel", tmp_path / "own.toml", "--out", out)
    assert (done.code, "20 of 20 pairs judged, 0 ties" in done.out) == (0, True)
    assert out.read_text().count('"preference": 1.0') == 20

    bare = write_rows(tmp_path / "bare.jsonl", [{**row, "checks": None} for row in rows])
    done = leaderboard(
        "annotate", bare, "--panel", tmp_path / "own.toml", "--overwrite", "--out", out
    )
    assert done.code == 2
    assert "it has no checks; give them in the column `checks`" in done.err


def test_samples_are_judged_by_the_checks_of_their_prompt(leaderboard, tmp_path):
    row = {"prompt": "How many?", "output": [WRONG, RIGHT], "checks": CHECKS}
    pairs, out = write_rows(tmp_path / "samples.jsonl", [row]), tmp_path / "prefs.jsonl"
    done = leaderboard("annotate", pairs, "--multi", "--panel", "checklist", "--out", out)
    assert done.code == 0
    assert "1 of 1 pairs judged, 0 ties" in done.out


def test_equal_answers_are_a_tie_whatever_the_noise():
    assert preference(replace(CLEAR, temperature=1.0, first=0.2), RIGHT, RIGHT) == 0.5
