"""The farm's people and simulators: what they share, how far they agree, and the board they judge."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest
from conftest import read_json, read_lines, write_rows

from judges.panel import COIN
from judges.registry import make_panel
from leaderboard.statistics.agreement import against_humans
from train_baselines.farm import agreement as farm_agreement
from train_baselines.farm import populations
from train_baselines.farm.agreement import agreement, main, read_pairs, solve, votes
from train_baselines.farm.authors import CORPUS, DEMONSTRATORS, GOLD, write_answer
from train_baselines.farm.world import Farm, draw_tasks, write_farm

FEW = {"pretrain": 10, "sft": 10, "preference": 10, "unlabeled": 10, "val": 10, "eval": 60}


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    """A farm of seed 0 with all the pairs that it has by default."""
    out = tmp_path_factory.mktemp("farm") / "data"
    write_farm(Farm(out=out, **FEW))
    return out


@pytest.fixture(scope="module")
def labelled(farm):
    """The votes of people and simulators on the farm's pairs."""
    pairs = read_pairs(farm / "pairs.jsonl")
    panels = (populations.people(), populations.simulators())
    return tuple(votes(make_panel(panel, Path()), pairs) for panel in panels)


# ------------------------------------------------------------------------------------ populations
def parameters(panel: dict) -> set[tuple[str, float]]:
    found = set()
    for judge in panel["judges"]:
        flat = {**judge, **judge["criteria"]}
        found |= {(k, v) for k, v in flat.items() if isinstance(v, float) and v != 0}
    return found


def test_people_and_simulators_share_no_parameter():
    people, simulators = populations.people(), populations.simulators()
    assert len(people["judges"]) == 16
    assert len(simulators["judges"]) == 13
    assert not parameters(people) & parameters(simulators)
    assert len(parameters(people)) > 16 * 8
    names = {judge["name"] for panel in (people, simulators) for judge in panel["judges"]}
    assert len(names) == 29


def test_each_annotator_has_parameters_of_its_own_and_sees_what_is_right():
    for panel in (populations.people(), populations.simulators()):
        for key in ("temperature", "slip", "length"):
            assert len({judge[key] for judge in panel["judges"]}) == len(panel["judges"])
        assert all(judge["criteria"]["regex"] > 0 for judge in panel["judges"])


def test_the_taste_for_length_can_be_switched_off_and_nothing_else_changes():
    for population in (populations.people, populations.simulators):
        usual, without = population(), population(length_taste=0)
        for one, other in zip(usual["judges"], without["judges"], strict=True):
            assert other["length"] == 0 != one["length"]
            assert {**one, "length": 0.0} == other


# -------------------------------------------------------------------------------------- agreement
def test_people_agree_as_far_as_they_are_to(labelled):
    people, _ = labelled
    assert len(people) == 2000
    assert {len(drawn) for drawn in people} == {4}
    assert np.mean(agreement(people)) == pytest.approx(0.66, abs=0.01)


def test_simulators_agree_with_people_nearly_as_far(labelled):
    people, simulators = labelled
    assert {len(drawn) for drawn in simulators} == {1}
    assert np.mean(agreement(simulators, people)) == pytest.approx(0.65, abs=0.01)


def test_the_figure_is_the_one_of_the_statistics(labelled):
    people, simulators = labelled
    labels = np.array([[vote.label(1.0) for vote in drawn] for drawn in people])
    judge = np.array([drawn[0].label(1.0) for drawn in simulators])
    theirs = against_humans(judge, labels, k=3)
    assert np.mean(agreement(people)) == pytest.approx(theirs.humans.value, abs=1e-12)
    assert np.mean(agreement(simulators, people)) == pytest.approx(theirs.judge.value, abs=1e-12)


def test_the_temperature_of_another_agreement_is_found(labelled):
    people = labelled[0][:500]
    factor = solve(0.6, people)
    assert factor > 1
    assert np.mean(agreement(people, factor=factor)) == pytest.approx(0.6, abs=0.005)
    with pytest.raises(farm_agreement.UserError, match="no temperature makes them agree on 99"):
        solve(0.99, people)


def test_the_command_says_figure_and_factor(farm, tmp_path, capsys):
    pairs = write_rows(tmp_path / "pairs.jsonl", read_lines(farm / "pairs.jsonl")[:200])
    people, simulators = str(farm / "people.toml"), str(farm / "simulators.toml")
    assert main([str(pairs), "--panel", people, "--solve", "0.6"]) == 0
    assert "against the mode of three others agrees on " in (out := capsys.readouterr().out)
    assert "of 200 pairs" in out
    assert "60.0 % at " in out
    assert main([str(pairs), "--panel", simulators, "--with", people]) == 0
    assert "against the mode of three of people.toml" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checks": None}, "line 1: `checks` are missing"),
        ({"output_1": None}, "line 1: prompt, output_1 and output_2 must be texts"),
        ({"output_1": "it is 2."}, "there is no pair of distinct answers"),
    ],
)
def test_pairs_that_cannot_be_judged_are_refused(farm, tmp_path, capsys, changes, message):
    row = {"prompt": "1 plus 1?", "output_1": "it is 3.", "output_2": "it is 2.",
           "checks": [{"kind": "number", "value": 2}], **changes}  # fmt: skip
    pairs = write_rows(tmp_path / "pairs.jsonl", [row])
    assert main([str(pairs), "--panel", str(farm / "people.toml")]) == 2
    assert message in capsys.readouterr().err


def test_samples_are_paired_as_they_come(farm, tmp_path):
    checks = read_lines(farm / "pairs.jsonl")[0]["checks"]
    told = {"p": ["a", "b", "c", "d", "e"], "q": ["x", "x", "y", "z"], "r": ["left over"]}
    rows = [
        {"prompt": prompt, "checks": checks, "output": text}
        for prompt, texts in told.items()
        for text in texts
    ]
    pairs = read_pairs(write_rows(tmp_path / "samples.jsonl", rows))
    found = [(pair.instruction.text, pair.output_1, pair.output_2) for pair in pairs]
    assert found == [("p", "a", "b"), ("p", "c", "d"), ("q", "y", "z")]


def test_one_label_an_item_has_no_mode_to_be_held_against(farm, capsys):
    pairs = str(farm / "pairs.jsonl")
    assert main([pairs, "--panel", str(farm / "simulators.toml")]) == 2
    assert "a mode is of three" in capsys.readouterr().err


# ------------------------------------------------------------------------ the leaderboard's tools
def test_half_of_the_training_labels_are_a_coins(leaderboard, farm, tmp_path):
    out = tmp_path / "prefs.jsonl"
    panel = farm / "simulators.toml"
    done = leaderboard(
        "annotate", farm / "pairs.jsonl", "--panel", panel, "--flip", "0.25", "--out", out
    )
    assert done.code == 0, done.err
    rows = read_lines(out)
    assert len(rows) == 2000
    assert sum(COIN in row["annotators"] for row in rows) / 2000 == pytest.approx(0.5, abs=0.03)
    by_judge = {name for row in rows for name in row["annotators"]} - {COIN}
    assert len(by_judge) == 13
    assert {len(row["annotators"]) for row in rows} == {1}


def test_four_people_judge_a_pair(leaderboard, farm, tmp_path):
    pairs = write_rows(tmp_path / "pairs.jsonl", read_lines(farm / "pairs.jsonl")[:50])
    out = tmp_path / "prefs.jsonl"
    done = leaderboard("annotate", pairs, "--panel", farm / "people.toml", "--out", out)
    assert done.code == 0, done.err
    for row in read_lines(out):
        assert len(row["annotators"]) == 4
        assert row["preference"] == pytest.approx(np.mean(list(row["annotators"].values())))


def test_a_board_of_the_farm_ranks_by_gold(leaderboard, farm, tmp_path):
    """Judged by the checklist: gold above every demonstrator, demonstrators above hasty authors."""
    asked = read_lines(farm / "eval.jsonl")
    drawn = draw_tasks(0, "eval")
    tasks = {}
    while len(tasks) < len(asked):
        task = next(drawn)
        tasks.setdefault(task.prompt, task)
    assert list(tasks) == [row["prompt"] for row in asked]
    authors = {author.name: author for author in (GOLD, *DEMONSTRATORS[:2], CORPUS[0])}
    for name, author in authors.items():
        texts = [
            write_answer(Random(f"{name} {prompt}"), task, author) for prompt, task in tasks.items()
        ]
        write_rows(
            tmp_path / f"{name}.jsonl",
            [
                {"instruction_id": row["id"], "output": text}
                for row, text in zip(asked, texts, strict=True)
            ],
        )
    results = ("--results", tmp_path / "results")
    made = leaderboard(
        "board", "new", "farm", "--prompts", farm / "eval.jsonl", "--judge", "checklist",
        "--reference", tmp_path / "clerk.jsonl", *results,
    )  # fmt: skip
    assert made.code == 0, made.err
    rows = [tmp_path / f"{name}.jsonl" for name in ("gold", "teacher", "hasty")]
    done = leaderboard("eval", *rows, "--board", "farm", *results)
    assert done.code in (0, 3), done.err
    rate = {
        name: read_json(tmp_path / f"results/farm/{name}/summary.json")["win_rate"]["value"]
        for name in ("gold", "teacher", "hasty")
    }
    assert rate["gold"] > 0.65
    assert rate["gold"] > rate["teacher"] > rate["hasty"]
    assert rate["hasty"] < 0.45
