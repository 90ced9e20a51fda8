"""Rows about the same two answers are one pair, whichever file and whichever way round they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_human_files import OURS, A, labelled, write

from judges.errors import UserError
from judges.schema import Message
from leaderboard.interop.labelled import LabelledPair, Verdict
from leaderboard.validity.gather import Gathered
from leaderboard.validity.human_files import read_comparisons, read_humans


def test_a_pair_with_its_answers_the_other_way_round_is_the_same_pair(tmp_path):
    turned = OURS | {"output_1": OURS["output_2"], "output_2": OURS["output_1"], "annotator": "b"}
    rows = [OURS | {"label": "output_1"}, turned | {"label": "output_1"}]
    humans = read_humans(write(tmp_path / "labels.jsonl", *rows))
    assert labelled(humans) == {("Red.", "a"): 0.0, ("Red.", "b"): 1.0}


def test_several_files_make_one_set(tmp_path):
    one = write(tmp_path / "a.csv", OURS | {"label": "tie"})
    two = write(tmp_path / "b.jsonl", OURS | {"label": "output_1", "annotator": "b"})
    humans = read_humans(one, two)
    assert labelled(humans) == {("Red.", "a"): 0.5, ("Red.", "b"): 0.0}
    assert humans.source == "a.csv + b.jsonl"


def test_labels_without_texts_and_the_pairs_they_are_about(tmp_path):
    pairs = write(tmp_path / "pairs.jsonl", OURS | {"id": "p1"}, OURS | {"id": "p2"})
    file = write(tmp_path / "labels.csv", {"id": "p2", "annotator": "a", "label": "output_2"})
    humans = read_humans(file, pairs=pairs)
    assert [(a.comparison_id, a.preference) for a in humans.labels] == [("p2", 1.0)]
    assert [pair.id for pair in humans.comparisons] == ["p2"]
    assert [pair.id for pair in read_comparisons(pairs)] == ["p1", "p2"]
    with pytest.raises(UserError, match="name the file of their pairs"):
        read_humans(file)


def test_labels_for_unknown_items(tmp_path):
    pairs = write(tmp_path / "pairs.jsonl", OURS | {"id": "p1"})
    file = write(tmp_path / "l.jsonl", {"id": "p9", "annotator": "a", "label": "tie"})
    with pytest.raises(UserError, match="line 1: id 'p9' is not among the 1 pairs"):
        read_humans(file, pairs=pairs)


ROW = LabelledPair(
    where="here",
    messages=(Message("user", "Hi"),),
    outputs=("one", "two"),
    generators=("m", "n"),
    labels={"a": 0.0},
    verdicts=[Verdict(judge="j", order="original", preference=0.0)],
)
TURNED = replace(
    ROW,
    where="there",
    outputs=("two", "one"),
    generators=("n", "m"),
    labels={"b": 0.0},
    verdicts=[
        Verdict(judge="j", order="original", preference=0.0),
        Verdict(judge="k", order="none", preference=None),
    ],
)


def test_verdicts_are_turned_with_the_answers_they_are_about():
    gathered = Gathered()
    gathered.add(ROW)
    gathered.add(TURNED)
    (pair,) = gathered.comparisons.values()
    assert (pair.output_1, pair.generator_1) == ("one", "m")
    said = {(v.annotator, v.order): v.preference for v in gathered.recorded.values()}
    assert said == {("j", "original"): 0.0, ("j", "swapped"): 1.0, ("k", "none"): None}
    with pytest.raises(UserError, match="here: a second verdict of 'j'"):
        gathered.add(replace(ROW, labels={}))


def test_one_answer_of_two_models_is_two_pairs():
    gathered = Gathered()
    gathered.add(ROW)
    gathered.add(replace(ROW, generators=("m", "other")))
    assert [pair.generator_2 for pair in gathered.comparisons.values()] == ["n", "other"]
    assert len({pair.digest for pair in gathered.comparisons.values()}) == 1


def test_who_labelled_is_said_on_every_line_or_on_none(tmp_path):
    anonymous = {key: value for key, value in A.items() if key != "annotator"}
    file = write(tmp_path / "a.jsonl", anonymous)
    assert labelled(read_humans(file)) == {("Red.", "human"): 0.0}
    with pytest.raises(UserError, match="line 2: annotator is missing, and a text in"):
        read_humans(write(tmp_path / "b.jsonl", A, anonymous))
    with pytest.raises(UserError, match="must be printable"):
        read_humans(write(tmp_path / "c.jsonl", A | {"annotator": "a\x1b[31m"}))
