"""`board calibrate`: what lc_joint rests on is frozen and hashed, and moves nobody afterwards."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import (
    good_answers,
    grid,
    make_board,
    mixed_answers,
    read_json,
    refused,
    table_of,
    toy_instructions,
    write_answers,
    write_rows,
)
from test_documented_files import documented

from leaderboard.boards.board import load_board
from leaderboard.boards.settings import Settings
from leaderboard.judging.controls import CONTROLS, control_results
from leaderboard.statistics.lc_joint import MAX_GAIN

N_ROWS = 8


def fillers(n: int) -> list[str]:
    """A mix of good and bad answers of various lengths."""
    texts = mixed_answers(3 + n)
    return [text + " And so on." * ((k * (n + 2)) % 5) for k, text in enumerate(texts)]


@pytest.fixture(scope="module")
def eight_rows(tmp_path_factory):
    """A board with as many rows as a calibration needs, not calibrated."""
    from leaderboard import evaluate

    results = tmp_path_factory.mktemp("eight") / "results"
    make_board(results / "toy")
    for n in range(N_ROWS):
        file = write_answers(results.parent / f"row{n}.jsonl", fillers(n))
        evaluate(str(file), board="toy", results=results)
    return results


@pytest.fixture
def ready(eight_rows, tmp_path):
    return shutil.copytree(eight_rows, tmp_path / "results")


def calibrate(leaderboard, results, *more):
    return leaderboard("board", "calibrate", "toy", *more, "--results", results)


def test_it_says_not_calibrated_below_eight_rows(ready, leaderboard):
    shutil.rmtree(ready / "toy" / "row0")
    refused(calibrate(leaderboard, ready), "there are 7", "8")
    shown = leaderboard("show", "toy", "--columns", "model", "lc_joint", "--results", ready)
    assert all(row[1] == "not calibrated" for row in grid(shown.out.split("\n\n")[1])[1:])
    assert (
        "no lc_joint: not calibrated: leaderboard board calibrate toy, from 8 rows on" in shown.out
    )


def test_the_column_is_there_for_rows_reference_and_controls(ready, leaderboard):
    done = calibrate(leaderboard, ready)
    assert (done.code, done.err) == (0, "")
    assert "calibrated from 8 rows" in done.out
    assert "by lc_joint:" in done.out
    table = table_of(ready)
    assert float(table["base"]["lc_joint"]) == 0.5
    for n in range(N_ROWS):
        row = table[f"row{n}"]
        assert float(row["lc_joint_low"]) < float(row["lc_joint"]) < float(row["lc_joint_high"])
        stored = read_json(ready / "toy" / f"row{n}" / "summary.json")["columns"]["lc_joint"]
        assert stored["value"] == float(row["lc_joint"])
    of_controls = {
        r.name for r in control_results(load_board("toy", ready)) if r.column != "win_rate"
    }
    assert of_controls == set(CONTROLS)
    assert leaderboard("board", "check", "toy", "--results", ready).code == 0


def test_win_rates_and_verdicts_stay_as_they_are(ready, leaderboard):
    before, verdicts = table_of(ready), (ready / "toy/row3/annotations.jsonl").read_bytes()
    calibrate(leaderboard, ready)
    after = table_of(ready)
    for name, row in before.items():
        assert row["win_rate"] == after[name]["win_rate"]
    assert (ready / "toy/row3/annotations.jsonl").read_bytes() == verdicts


def test_a_newcomer_moves_nobody_and_gets_a_figure(ready, leaderboard, tmp_path):
    calibrate(leaderboard, ready, "--headline", "lc_joint")
    before = table_of(ready)
    file = write_answers(tmp_path / "new.jsonl", good_answers())
    assert leaderboard("eval", file, "--board", "toy", "--results", ready).code == 0
    after = table_of(ready)
    assert after["new"]["lc_joint"]
    moved = [n for n in before if before[n]["lc_joint"] != after[n]["lc_joint"]]
    assert not moved


def test_the_headline_ranks(ready, leaderboard):
    done = calibrate(leaderboard, ready, "--headline", "lc_joint")
    assert done.code == 0
    table = table_of(ready)
    ranked = sorted(table.values(), key=lambda row: -float(row["lc_joint"]))
    assert [int(row["rank"]) for row in ranked] == sorted(int(row["rank"]) for row in ranked)
    shown = leaderboard("show", "toy", "--results", ready).out
    assert "ranked by lc_joint" in shown
    header = shown.split("\n\n")[1].splitlines()[0]
    assert header.index("lc_joint") < header.index("win rate")
    back = calibrate(leaderboard, ready, "--headline", "win_rate")
    assert back.code == 0
    assert "ranked by" not in leaderboard("show", "toy", "--results", ready).out


def test_a_headline_that_the_board_cannot_have_changes_nothing(ready, leaderboard):
    before = (ready / "toy/board.toml").read_bytes()
    refused(calibrate(leaderboard, ready, "--headline", "lc_alpaca_eval"), "--difficulty")
    assert (ready / "toy/board.toml").read_bytes() == before
    assert not (ready / "toy/calibration.json").exists()


def test_a_second_calibration_keeps_the_first_unless_told_to_overwrite(ready, leaderboard):
    names = [f"row{n}" for n in range(N_ROWS)]
    assert calibrate(leaderboard, ready, *names).code == 0
    frozen = read_json(ready / "toy/calibration.json")
    assert sorted(frozen["models"]) == names
    leaderboard(
        "eval", ready / "toy/row1/outputs.jsonl", "--name", "ninth", "--board", "toy",
        "--results", ready,
    )  # fmt: skip
    refused(calibrate(leaderboard, ready, *names[:-1], "ninth"), "calibrated already, from 8 rows")
    assert calibrate(leaderboard, ready, "--headline", "lc_joint").code == 0
    assert read_json(ready / "toy/calibration.json") == frozen
    assert "ranked by lc_joint" in leaderboard("show", "toy", "--results", ready).out
    assert calibrate(leaderboard, ready, "--overwrite").code == 0
    assert len(read_json(ready / "toy/calibration.json")["models"]) == 9


def test_a_calibration_that_stopped_half_way_is_finished_by_another(ready, leaderboard):
    plain = (ready / "toy/board.toml").read_bytes()
    calibrate(leaderboard, ready)
    frozen = (ready / "toy/calibration.json").read_bytes()
    done = (ready / "toy/board.toml").read_bytes()
    # As a kill between the two files leaves it.
    (ready / "toy/board.toml").write_bytes(plain)
    refused(leaderboard("show", "toy", "--results", ready), "calibration.json")
    assert calibrate(leaderboard, ready).code == 0
    assert (ready / "toy/calibration.json").read_bytes() == frozen
    assert (ready / "toy/board.toml").read_bytes() == done


def test_a_row_that_another_run_holds_is_left_and_named(ready, leaderboard):
    from leaderboard.rows.results import Row

    with Row(ready / "toy/row3").locked():
        done = calibrate(leaderboard, ready)
    assert done.code == 0
    assert "row3 is left as it is: another run is at work" in done.err
    assert table_of(ready)["row3"]["lc_joint"]
    assert calibrate(leaderboard, ready).code == 0
    assert leaderboard("board", "check", "toy", "--results", ready).code == 0


def test_a_calibration_that_cannot_be_read_is_made_anew(ready, leaderboard):
    calibrate(leaderboard, ready, "--headline", "lc_joint")
    (ready / "toy/calibration.json").write_text("{", encoding="utf-8")
    refused(leaderboard("show", "toy", "--results", ready), "calibration.json")
    assert calibrate(leaderboard, ready, "--overwrite", "--headline", "lc_joint").code == 0
    assert leaderboard("board", "check", "toy", "--results", ready).code == 0


def test_board_check_names_a_calibrating_row_that_has_changed(ready, leaderboard):
    calibrate(leaderboard, ready)
    leaderboard(
        "eval", ready / "toy/row5/outputs.jsonl", "--name", "row1", "--overwrite",
        "--board", "toy", "--results", ready,
    )  # fmt: skip
    checked = leaderboard("board", "check", "toy", "--results", ready)
    assert checked.code == 0
    assert "row1 has changed since the board was calibrated" in checked.out


@pytest.mark.parametrize(
    "columns",
    [
        {"win_rate": {"value": 0.99, "low": 0.9, "high": 1.0}},
        {"lc_joint": {"value": 0.5, "high": 0.9}},
        {"lc_joint": {"value": "0.5", "low": 0.1, "high": 0.9}},
    ],
)
def test_a_summary_with_other_columns_than_ours_leaves_its_row_out(ready, leaderboard, columns):
    calibrate(leaderboard, ready)
    for path in ("row2/summary.json", "controls/null/summary.json"):
        file = ready / "toy" / path
        file.write_text(json.dumps(read_json(file) | {"columns": columns}), encoding="utf-8")
    shown = leaderboard("show", "toy", "--results", ready)
    assert shown.code == 0
    assert "row2 (" in shown.out
    assert leaderboard("board", "check", "toy", "--results", ready).code == 3


def test_rows_that_are_not_there_are_refused(ready, leaderboard):
    refused(calibrate(leaderboard, ready, "row1", "nobody"), "'nobody'", "row1")
    refused(calibrate(leaderboard, ready, "row1", "row2"), "there are 2")


def test_an_edited_calibration_is_refused(ready, leaderboard):
    calibrate(leaderboard, ready)
    file = ready / "toy/calibration.json"
    frozen = read_json(file)
    frozen["taste"][0] += 0.5
    file.write_text(json.dumps(frozen), encoding="utf-8")
    refused(leaderboard("show", "toy", "--results", ready), "calibration.json")
    assert calibrate(leaderboard, ready, "--overwrite").code == 0
    assert leaderboard("show", "toy", "--results", ready).code == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("taste", [0.1, 0.2]),
        ("mediators", ["length", "lists", "hats"]),
        ("difficulty", {"nobody": 1.0}),
        ("controls", [{"name": "x", "role": "neutral", "preference": [0.5], "mediators": [[1.0]]}]),
        ("surprise", 1),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(ready, leaderboard, key, value):
    calibrate(leaderboard, ready)
    file = ready / "toy/calibration.json"
    file.write_text(json.dumps(read_json(file) | {key: value}), encoding="utf-8")
    refused(leaderboard("show", "toy", "--results", ready), "calibration.json")


def test_a_headline_without_its_file_is_refused(ready, leaderboard):
    calibrate(leaderboard, ready, "--headline", "lc_joint")
    (ready / "toy/calibration.json").unlink()
    refused(leaderboard("show", "toy", "--results", ready), "headline", "lc_joint")


def test_a_run_that_stopped_behind_the_calibration_shows_the_new_figures(ready, leaderboard):
    before = read_json(ready / "toy/row2/summary.json")
    calibrate(leaderboard, ready, "--headline", "lc_joint")
    after = table_of(ready)
    # As a kill before the rows were reckoned anew leaves them.
    (ready / "toy/row2/summary.json").write_text(json.dumps(before), encoding="utf-8")
    shown = leaderboard("show", "toy", "--format", "csv", "--results", ready).out
    line = next(line for line in shown.splitlines() if ",row2," in line)
    assert after["row2"]["lc_joint"] in line
    checked = leaderboard("board", "check", "toy", "--results", ready)
    assert checked.code == 3
    assert "WRONG row2: the summary's columns" in checked.out


def test_lengths_alone_where_texts_are_not_stored(ready, leaderboard):
    file = ready / "toy/row4/outputs.jsonl"
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    write_rows(file, [line | {"length": len(line["text"]), "text": ""} for line in lines])
    assert calibrate(leaderboard, ready).code == 0
    assert read_json(ready / "toy/calibration.json")["mediators"] == ["length"]


def test_a_row_without_texts_on_a_board_that_needs_them_says_so(ready, leaderboard):
    calibrate(leaderboard, ready)
    file = ready / "toy/row4/outputs.jsonl"
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    write_rows(file, [line | {"length": len(line["text"]), "text": ""} for line in lines])
    leaderboard("eval", "row4", "--only", "judge", "--board", "toy", "--results", ready)
    found = read_json(ready / "toy/row4/summary.json")["columns"]["lc_joint"]
    assert found == {"value": None, "absent": "the texts of the answers are not stored"}


def test_a_constant_answer_gains_nothing(ready, leaderboard):
    calibrate(leaderboard, ready)
    null = [r for r in control_results(load_board("toy", ready)) if r.name == "null"]
    assert [r.column for r in null] == ["win_rate", "lc_joint"]
    assert null[1].gain <= MAX_GAIN
    frozen = read_json(ready / "toy/calibration.json")
    assert "constant" in {control["role"] for control in frozen["controls"]}


def test_a_constant_answer_that_gains_fails_as_a_control(ready, leaderboard):
    calibrate(leaderboard, ready)
    file = ready / "toy/controls/null/summary.json"
    summary = read_json(file)
    summary["columns"]["lc_joint"]["gain"] = 0.02
    file.write_text(json.dumps(summary), encoding="utf-8")
    null = [r for r in control_results(load_board("toy", ready)) if r.name == "null"]
    assert [r.outcome for r in null] == ["passed", "failed"]
    assert (
        "length control gives it 2.0 points" in leaderboard("show", "toy", "--results", ready).out
    )


def test_a_board_with_several_references_has_no_such_column(tmp_path, leaderboard):
    results = tmp_path / "results"
    make_board(results / "toy", settings=Settings(references=("base", "other")))
    refused(calibrate(leaderboard, results), "one reference")


def test_a_new_board_of_a_calibrated_one_ranks_by_win_rate(ready, leaderboard):
    calibrate(leaderboard, ready, "--headline", "lc_joint")
    done = leaderboard("board", "new", "next", "--from", "toy", "--results", ready)
    assert done.code == 0
    board = load_board("next", ready)
    assert board.settings.headline == "win_rate"
    assert board.calibration is None


def test_calibration_json_has_the_documented_keys(ready, leaderboard):
    calibrate(leaderboard, ready)
    frozen = read_json(ready / "toy/calibration.json")
    assert set(frozen) == set(documented("calibration.json"))
    assert list(frozen["difficulty"]) == [i.id for i in toy_instructions(12)]


def test_a_single_instruction_has_a_figure_without_a_standard_error(ready, leaderboard):
    assert calibrate(leaderboard, ready).code == 0
    answers = ready / "one.jsonl"
    board = load_board("toy", ready)
    lines = [
        {"instruction_id": i.id, "output": f"{i.gold_answer} it is."} for i in board.instructions
    ]
    answers.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = leaderboard(
        "eval", str(answers), "--board", "toy", "--results", str(ready), "--limit", "1"
    )
    assert done.code == 0, done.err
    figure = read_json(ready / "toy/one/summary.json")["columns"]["lc_joint"]
    assert figure["value"] is None or figure["standard_error"] is None
