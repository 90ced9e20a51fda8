"""Small folders in AlpacaEval's layouts become boards; broken ones leave nothing behind."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pandas as pd
import pytest
from conftest import files_of, refused, write_rows

from judges.errors import UserError
from leaderboard.boards.board import load_board
from leaderboard.interop.alpaca_eval import import_alpaca_eval
from leaderboard.rows.results import Row
from leaderboard.rows.standings import board_rows, standings
from leaderboard.watch import Watch

DEFAULT = {
    "alpaca_eval_1": "alpaca_eval_gpt4",
    "alpaca_eval_2": "weighted_alpaca_eval_gpt4_turbo",
}


def figures(board) -> dict[str, dict[str, object]]:
    return {row.name: row.summary()["win_rate"] for row in board_rows(board)}


def write_packages(folder: Path, preferences=None, *, other: bool = False) -> Path:
    """Packages of four instructions: model `m1` wins, loses, draws and has one verdict missing."""
    folder.mkdir(parents=True)
    asked = [
        {
            "instruction_index": index,
            "dataset": "even" if index % 2 == 0 else "odd",
            "instruction": f"Question {index}?",
            "reference_output": f"Reference {index}.",
            "reference_generator": "base",
        }
        for index in range(4)
    ]
    write_rows(folder / "instructions.jsonl", asked)
    chosen = {"m1": [2.0, 1.0, 1.5, None]} if preferences is None else preferences
    rows = [
        {"model": model, "instruction_index": index, "preference": value, "len_model": 9 + index}
        for model, values in chosen.items()
        for index, value in enumerate(values)
    ]
    pd.DataFrame(rows).to_parquet(folder / "annotations.parquet")
    if other:
        judged = pd.DataFrame(rows).assign(judge="stern", preference=1.0)
        judged.to_parquet(folder / "annotations_other_judges.parquet")
    return folder


def test_packages_become_a_board(tmp_path, leaderboard):
    folder = write_packages(tmp_path / "mini")
    answers = [{"model": "m1", "instruction_index": 0, "output": "A model's"}]
    answers += [{"model": "m1", "instruction_index": 1, "output": "of another length"}]
    pd.DataFrame(answers).to_parquet(folder / "model_outputs.parquet")
    done = leaderboard("board", "import", "alpaca_eval", folder, "--results", tmp_path / "r")
    assert (done.code, done.err) == (0, "see them with: leaderboard show mini\n")
    board = load_board("mini", tmp_path / "r")
    row = Row(board.path / "m1")
    rate = row.summary()["win_rate"]
    assert (rate["n_wins"], rate["n_losses"], rate["n_draws"], rate["n_judged"]) == (1, 1, 1, 3)
    assert rate["value"] == pytest.approx(0.5)
    assert [i.category for i in board.instructions] == ["even", "odd", "even", "odd"]
    outputs = row.outputs()
    assert [outputs[i].text for i in ("000", "001", "002")] == ["A model's", "", ""]
    assert [outputs[i].characters for i in ("000", "001", "002", "003")] == [9, 10, 11, 12]
    assert [a.order for a in row.annotations()] == ["none"] * 4, "the order is not known"
    missing = row.annotations()[3]
    assert missing.preference is None
    assert missing.error == "unparsed"


def test_another_judge_of_the_packages(tmp_path):
    folder = write_packages(tmp_path / "mini", other=True)
    (folder / "official_leaderboard.csv").write_text("model,win_rate\nfamous,99\n")
    board = import_alpaca_eval(folder, tmp_path / "r", annotator="stern")
    assert figures(board)["m1"]["value"] == 0.0
    assert not (board.path / "published.csv").exists(), "what was published is of another judge"
    with pytest.raises(UserError, match="no verdicts of 'mild'; there are recorded, stern"):
        import_alpaca_eval(folder, tmp_path / "r", name="b", annotator="mild")


def test_verdicts_on_the_reference_itself_make_no_second_row(tmp_path):
    folder = write_packages(tmp_path / "mini", {"m1": [2.0] * 4, "base": [1.5] * 4})
    board = import_alpaca_eval(folder, tmp_path / "r")
    assert list(figures(board)) == ["m1"]
    assert list(standings(board).frame["model"]) == ["m1", "base"]


def test_one_judge_only_has_no_other(tmp_path):
    folder = write_packages(tmp_path / "mini")
    with pytest.raises(UserError, match=r"no verdicts of 'stern'; there are recorded$"):
        import_alpaca_eval(folder, tmp_path / "r", annotator="stern")


def write_judged(folder: Path, model: str, annotator: str, preferences: list[object]) -> None:
    home = folder / "results" / model / annotator
    home.mkdir(parents=True)
    records = [
        {
            "instruction": f"Question {k}?",
            "output_1": f"Reference {k}.",
            "generator_1": "base",
            "output_2": f"Answer {k} of {model}.",
            "generator_2": model,
            "preference": preference,
        }
        for k, preference in enumerate(preferences)
    ]
    (home / "annotations.json").write_text(json.dumps(records))


def test_of_several_judges_of_a_checkout_one_must_be_named(tmp_path):
    for annotator, preferences in (("stern", [1, 1]), ("mild", [2, 2])):
        write_judged(tmp_path / "c", "m1", annotator, preferences)
    with pytest.raises(UserError, match=r"several judges.*--annotator: mild, stern"):
        import_alpaca_eval(tmp_path / "c", tmp_path / "r")
    with pytest.raises(UserError, match="no verdicts of 'fair'; there are mild, stern"):
        import_alpaca_eval(tmp_path / "c", tmp_path / "r", annotator="fair")
    board = import_alpaca_eval(tmp_path / "c", tmp_path / "r", annotator="mild")
    assert figures(board)["m1"]["value"] == 1.0


@pytest.mark.parametrize("default", sorted(DEFAULT.values()))
def test_the_published_judge_of_a_checkout_is_the_default(tmp_path, default):
    write_judged(tmp_path / "c", "m1", default, [1, 2])
    write_judged(tmp_path / "c", "m1", "mild", [2, 2])
    board = import_alpaca_eval(tmp_path / "c", tmp_path / "r")
    assert board.panel.names == [default]
    assert figures(board)["m1"]["value"] == 0.5


def test_both_published_judges_are_too_many(tmp_path):
    for default in DEFAULT.values():
        write_judged(tmp_path / "c", "m1", default, [1, 2])
    with pytest.raises(UserError, match="several judges"):
        import_alpaca_eval(tmp_path / "c", tmp_path / "r")


def test_a_draw_is_a_half_and_minus_one_is_missing(tmp_path):
    write_judged(tmp_path / "c", "m1", "mild", [0, 1.5, -1, None, 1.25])
    board = import_alpaca_eval(tmp_path / "c", tmp_path / "r")
    stored = [a.preference for a in Row(board.path / "m1").annotations()]
    assert stored == [0.5, 0.5, None, None, 0.25]
    outputs = Row(board.path / "m1").outputs()
    assert outputs["004"].text == "Answer 4 of m1."


@pytest.fixture
def mini(tmp_path, leaderboard) -> Path:
    """A results folder with the imported board `mini`, which has published rows."""
    folder = write_packages(tmp_path / "mini", {"m1": [2.0] * 4, "m2": [1.0] * 4})
    text = "model,win_rate,note\nfamous,99.25,@SUM(A1)\n"
    (folder / "official_leaderboard.csv").write_text(text)
    results = tmp_path / "results"
    assert leaderboard("board", "import", "alpaca_eval", folder, "--results", results).code == 0
    return results


def write_alpaca_eval_answers(path: Path) -> Path:
    """Answers in AlpacaEval's own format, longer than the reference's."""
    rows = [
        {"instruction": f"Question {k}?", "output": "A long answer. " * 3, "generator": "mine"}
        for k in range(4)
    ]
    return write_rows(path, rows)


def test_eval_on_recorded_verdicts_names_the_command_that_works(mini, tmp_path, leaderboard):
    answers = write_alpaca_eval_answers(tmp_path / "mine.json")
    told = leaderboard("eval", answers, "--board", "mini", "--results", mini)
    refused(told)
    assert not (mini / "mini" / "mine" / "summary.json").exists()
    command = told.err[told.err.index("leaderboard board new") :].strip()
    words = shlex.split(command.replace("JUDGE", "heuristic/longest"))
    assert words[:6] == ["leaderboard", "board", "new", "mini-live", "--from", "mini"]
    made = leaderboard(*words[1:], *(() if "--results" in words else ("--results", mini)))
    assert made.code == 0, made.err
    done = leaderboard("eval", answers, "--board", "mini-live", "--results", mini)
    assert done.code == 0, done.err
    assert "win rate: 100.0 ±" in done.out
    assert "recorded" not in done.out.lower(), "the new board judges for itself"


def block(out: str) -> tuple[str, str]:
    """What `show` prints of the live rows, and of the published ones."""
    live, _, rest = out.partition("published elsewhere, not ranked")
    return live, rest


def test_published_rows_stand_in_a_block_of_their_own(mini, leaderboard):
    for form in ("table", "markdown"):
        live, rest = block(leaderboard("show", "mini", "--results", mini, "--format", form).out)
        assert "m1" in live
        assert "famous" not in live
        assert "famous" in rest
        assert "99.2" in rest
        assert "m1" not in rest
    shown = leaderboard("show", "mini", "--results", mini, "--format", "json")
    assert [row["model"] for row in json.loads(shown.out)] == ["m1", "base", "m2"]


def test_published_rows_come_along_to_a_live_board(mini, leaderboard):
    args = ("--from", "mini", "--judge", "heuristic/longest", "--results", mini)
    assert leaderboard("board", "new", "live", *args).code == 0
    live, rest = block(leaderboard("show", "live", "--results", mini).out)
    assert "famous" in rest
    assert "m1" not in live
    assert "live: win rate" in live


# ---------------------------------------------------------------------------------- what goes wrong
def with_line(folder: Path, line: str) -> Path:
    with (folder / "instructions.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    return folder


BROKEN = {
    "outside the encoding": (
        lambda f: write_packages(f, {"m1": [1.0] * 4, "m2": [1.0, 7.0]}),
        ["row 6", "preference 7.0"],
    ),
    "a name that is a path": (
        lambda f: write_packages(f, {"../m1": [1.0] * 4}),
        ["'../m1'", "not usable"],
    ),
    "an instruction that is not there": (
        lambda f: write_packages(f, {"m1": [1.0] * 5}),
        ["row 5", "instruction 004 is not in instructions.jsonl"],
    ),
    "an instruction without a number": (
        lambda f: with_line(write_packages(f), '{"instruction": "Why?"}'),
        ["instructions.jsonl, line 5", "instruction_index"],
    ),
    "an instruction without text": (
        lambda f: with_line(write_packages(f), '{"instruction_index": 4}'),
        ["instructions.jsonl, line 5", "'instruction'"],
    ),
    "broken JSON": (
        lambda f: with_line(write_packages(f), '{"instruction_index": '),
        ["instructions.jsonl, line 5", "not valid JSON"],
    ),
    "no such layout": (lambda f: f.mkdir(parents=True), ["neither", "annotations.parquet"]),
    "an empty results folder": (lambda f: (f / "results").mkdir(parents=True), ["results"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_failed_import_leaves_nothing(tmp_path, leaderboard, case):
    make, words = BROKEN[case]
    make(tmp_path / "in")
    results = tmp_path / "results"
    done = leaderboard("board", "import", "alpaca_eval", tmp_path / "in", "--results", results)
    refused(done, *words)
    assert not results.exists() or not list(results.iterdir())


def test_a_second_verdict_on_one_answer_is_an_error(tmp_path):
    folder = write_packages(tmp_path / "in")
    twice = pd.read_parquet(folder / "annotations.parquet")
    pd.concat([twice, twice[:1]]).to_parquet(folder / "annotations.parquet")
    with pytest.raises(UserError, match="row 5: a second verdict on 'm1', instruction 000"):
        import_alpaca_eval(folder, tmp_path / "r")


def test_an_interrupted_import_leaves_nothing(tmp_path):
    class Interrupted(Watch):
        def track(self, items, total, what):
            yield next(iter(items))
            raise KeyboardInterrupt

    folder = write_packages(tmp_path / "in", {"m1": [1.0] * 4, "m2": [1.0] * 4})
    with pytest.raises(KeyboardInterrupt):
        import_alpaca_eval(folder, tmp_path / "r", watch=Interrupted())
    assert list((tmp_path / "r").iterdir()) == []


def test_an_import_does_not_touch_a_board_that_is_there(mini, tmp_path, leaderboard):
    before = files_of(mini)
    done = leaderboard("board", "import", "alpaca_eval", tmp_path / "mini", "--results", mini)
    refused(done, "is there already")
    assert files_of(mini) == before


def test_a_broken_checkout_names_file_and_row(tmp_path, leaderboard):
    write_judged(tmp_path / "c", "m1", "mild", [1])
    file = tmp_path / "c" / "results" / "m1" / "mild" / "annotations.json"
    file.write_text(json.dumps([{"instruction": "Why?", "preference": 1}]))
    done = leaderboard("board", "import", "alpaca_eval", tmp_path / "c", "--results", tmp_path)
    refused(done, str(file), "row 1", "'output_1'")
