"""`leaderboard agree` on crowds, floors, unlike judges and older reports."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Finished, read_json, refused, write_rows
from labelled_pairs import humans_of, measured, noisy, people, rows, truth

from leaderboard.statistics.estimates import Undefined
from leaderboard.validity.agree import MAX_K
from leaderboard.validity.agreement_report import text, write_report
from leaderboard.validity.agreement_table import MANY_PEOPLE
from leaderboard.validity.agreement_tables import among_people
from leaderboard.validity.behaviour_tables import categories
from leaderboard.validity.humans import Humans
from leaderboard.validity.judge_figures import MAX_SINGLE

N = 40


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "labels.jsonl", list(rows(humans_of(N, people(3)))))


@pytest.fixture
def agree(leaderboard: Callable[..., Finished]) -> Callable[..., Finished]:
    return lambda *flags: leaderboard("agree", *flags)


def crowd(n: int, each: int = N) -> Humans:
    """n people who label so many pairs each."""
    whole = humans_of(N, {f"p{k}": noisy(f"p{k}", 0.3) for k in range(n)}, {"j": {"none": truth}})
    draw = random.Random(1)
    kept = {f"p{k}": set(draw.sample(range(N), each)) for k in range(n)}
    labels = [o for o in whole.labels if int(o.comparison_id[1:]) in kept[o.annotator]]
    return dataclasses.replace(whole, labels=tuple(labels))


# ---------------------------------------------------------------------------------------- crowds
def test_of_many_people_the_range_is_shown():
    found = measured(crowd(MANY_PEOPLE + 5))
    shown = among_people(found).body
    assert len(found.people.each) == MANY_PEOPLE + 5
    assert found.people.pairwise_kappa == {}
    assert found.k == MAX_K
    assert shown[0][0] == f"{MANY_PEOPLE + 5} people, lowest to highest"
    assert "p3" not in [row[0] for row in shown]
    values = [100 * own.value for own in found.people.each]
    assert shown[0][1] == f"{min(values):.1f} to {max(values):.1f}"


def test_of_a_crowd_nobody_is_measured_alone():
    found = measured(crowd(MAX_SINGLE + 1, each=3), k=5)
    assert found.people.each == ()
    one = found.judges[0]
    assert one.each == one.replaces.humans == ()
    assert one.replaces.passes is None
    assert isinstance(one.replaces.advantage, Undefined)
    assert "labels a pair" in text(found, "table")
    assert " or " not in text(found, "table").split("labels a pair")[0]


# --------------------------------------------------------------------------------------- judges
def test_a_floor_in_the_panel_is_measured_as_a_floor(agree, labels):
    run = agree("--humans", labels, "--panel", "heuristic/longest")
    assert run.code == 0, run.err
    assert "heuristic/longest does not read: it is measured among the floors (°)." in run.out
    assert run.out.count("the longest answer °") == 1


def test_judges_on_different_pairs_are_said_not_to_compare(tmp_path):
    half = {"none": truth}
    whole = humans_of(N, people(3), {"all": {"none": noisy("j", 0.2)}, "half": half})
    assert "rest on different pairs" not in text(measured(whole), "table")
    recorded = [o for o in whole.recorded if o.annotator == "all" or int(o.comparison_id[1:]) < 20]
    found = measured(dataclasses.replace(whole, recorded=tuple(recorded)))
    assert not found.on_same_pairs
    assert "The judges rest on different pairs" in text(found, "table")
    write_report(found, tmp_path)
    assert "The judges rest on different pairs" in (tmp_path / "report.md").read_text("utf-8")
    # The one with more pairs comes first where they stand beside each other.
    assert categories(found)[0].heads[3:] == ["all", "half"]


# ---------------------------------------------------------------------------------------- files
def test_a_report_leaves_no_figures_of_an_older_one(tmp_path):
    found = measured(humans_of(N, people(3), {"judge": {"none": truth}}))
    (tmp_path / "price.png").write_text("a figure of somebody's")
    write_report(found, tmp_path)
    assert (tmp_path / "price.png").is_file()  # there was no report beside it
    for name in ("scatter-2.svg", "calibration.png", "notes.md", "price.pdf"):
        (tmp_path / name).write_text("old")
    write_report(found, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "report.md", "report.json", "agreement.png", "agreement.svg", "notes.md", "price.pdf",
    }  # fmt: skip
    assert read_json(tmp_path / "report.json")["on_same_pairs"]


# ---------------------------------------------------------------------------------------- flags
def test_flags_that_would_do_nothing_are_refused(agree, labels, tmp_path):
    refused(agree("--humans", labels, "--pairs", tmp_path / "no.jsonl"), "no.jsonl: no such file")
    refused(agree("--humans", tmp_path), "is a folder; name a file in it")
    page = tmp_path / "page.html"
    for flags in (("--panel", "heuristic/random"), ("--out", tmp_path / "r"), ("--k", "2")):
        refused(agree("--make-form", page, *flags), "--make-form goes with no other option")
    assert agree("--make-form", page).code == 0
    before = page.read_bytes()
    refused(agree("--make-form", page), "give another name")
    assert page.read_bytes() == before


def test_long_names_and_broken_lines_are_told_in_short(agree, labels, tmp_path):
    line = {"id": "x" * 5000, "annotator": "a", "label": "tie"}
    alone = write_rows(tmp_path / "alone.jsonl", [line])
    run = agree("--humans", alone, "--pairs", labels)
    refused(run, "x…", "is not among the 40 pairs")
    assert len(run.err) < 500
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n{"a": \n')
    run = agree("--humans", tmp_path / "bad.jsonl")
    refused(run, "line 2: not valid JSON (Expecting value", "column")
    assert run.err.count("line") == 1
