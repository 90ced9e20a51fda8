"""Models put against each other: what is asked, what is stored, and the strengths that follow."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from api_server import answer
from conftest import (
    LONGEST,
    TOY,
    bad_answers,
    edit_json,
    files_of,
    good_answers,
    grid,
    make_board,
    mixed_answers,
    read_json,
    read_lines,
    refused,
    toy_instructions,
    write_answers,
    write_rows,
)
from served_boards import set_prices
from test_documented_files import documented

from judges.base import Shown, Verdict
from judges.calling.caller import Caller, Task
from judges.errors import UserError
from judges.kinds.checklist import Checklist
from judges.schema import Output
from leaderboard import evaluation
from leaderboard.boards.board import load_board
from leaderboard.boards.catalogue import packaged_boards
from leaderboard.comparing.comparison import compare
from leaderboard.comparing.file_comparison import compare_files, find_panel
from leaderboard.comparing.head_to_head import board_strengths, duels_of, head_to_head
from leaderboard.rows.standings import board_rows, standings
from leaderboard.statistics.bradley_terry import bradley_terry
from leaderboard.statistics.uncertainty import holm, sign_flip_p
from leaderboard.user_files import RESERVED, check_name

ROWS = {"good": 12, "middling": 6, "bad": 0}


@pytest.fixture
def rivals(ranked, tmp_path) -> Path:
    """A results folder to change whose board toy has the rows of ROWS."""
    return Path(shutil.copytree(ranked, tmp_path / "results"))


@pytest.fixture
def board(rivals):
    return load_board("toy", rivals)


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """The ids of the comparisons that checklists are shown from here on."""
    seen: list[str] = []
    judge = Checklist.judge

    def counting(
        self: Checklist, shown: Sequence[Shown], caller: Caller, task: Task
    ) -> Iterator[Verdict]:
        for view, verdict in zip(shown, judge(self, shown, caller, task), strict=True):
            seen.append(view.comparison.id)
            yield verdict

    monkeypatch.setattr(Checklist, "judge", counting)
    return seen


def folder(results: Path, pair: str) -> Path:
    return results / "toy" / "head_to_head" / pair


# ------------------------------------------------------------------------------- rows of a board
def test_rows_meet_and_the_verdicts_are_stored_by_name(board, rivals, asked):
    found = head_to_head(board, ["middling", "good", "bad"])
    assert [(duel.a, duel.b) for duel in found.duels] == [
        ("middling", "good"),
        ("middling", "bad"),
        ("good", "bad"),
    ]
    lines = read_lines(folder(rivals, "good--vs--middling") / "annotations.jsonl")
    assert [line["comparison_id"] for line in lines] == [f"good:toy-{k:02d}" for k in range(12)]
    # The first half of middling's answers are good's, the other half is bad.
    assert [line["preference"] < 0.5 for line in lines] == [False] * 6 + [True] * 6
    assert len(asked) == len(set(asked)) + 12 == 36, "good meets two, so its ids come twice"
    first, second, third = (duel.rate for duel in found.duels)
    assert (first.n_wins, first.n_draws, first.n_losses) == (0, 6, 6)
    assert (second.n_wins, second.n_draws, second.n_losses) == (6, 6, 0)
    assert (third.n_wins, third.n_judged, third.n_items) == (12, 12, 12)
    assert first.value == pytest.approx(np.mean([line["preference"] for line in lines]))
    assert first.low < first.value < first.high


def test_swapping_the_names_mirrors_the_rates(board):
    (there,) = head_to_head(board, ["good", "middling"]).duels
    (back,) = head_to_head(board, ["middling", "good"]).duels
    assert back.rate.value == pytest.approx(1 - there.rate.value)
    assert (back.rate.low, back.rate.high) == pytest.approx(
        (1 - there.rate.high, 1 - there.rate.low)
    )
    assert (back.rate.n_wins, back.rate.n_losses) == (there.rate.n_losses, there.rate.n_wins)


def test_nothing_is_asked_twice(board, rivals, asked):
    first = head_to_head(board, ["good", "middling"])
    stored = files_of(rivals)
    asked.clear()
    second = head_to_head(board, ["middling", "good"])
    assert asked == []
    assert files_of(rivals) == stored
    assert first.strengths.rating.tolist() == second.strengths.rating.tolist()


def test_the_reference_has_been_met_already(board, rivals, asked):
    found = head_to_head(board, ["base", "good", "bad"])
    assert {path.name for path in (rivals / "toy" / "head_to_head").iterdir()} == {"bad--vs--good"}
    assert len(asked) == 12
    rate = {(duel.a, duel.b): duel.rate.value for duel in found.duels}
    frame = standings(board).frame.set_index("model")
    assert rate["base", "good"] == pytest.approx(1 - frame.loc["good", "win_rate"])
    asked.clear()
    assert head_to_head(board, ["good", "base"]).duels[0].rate.value == pytest.approx(
        frame.loc["good", "win_rate"]
    )
    assert asked == []


def test_the_strengths_are_those_of_all_verdicts_on_the_named(board, rivals):
    found = head_to_head(board, ["good", "middling", "bad"]).strengths
    battles = []
    for row in ROWS:
        for line in read_lines(rivals / "toy" / row / "annotations.jsonl"):
            battles.append((line["comparison_id"][5:], "base", row, line["preference"]))
    for one, two in combinations(sorted(ROWS), 2):
        for line in read_lines(folder(rivals, f"{one}--vs--{two}") / "annotations.jsonl"):
            item = line["comparison_id"].split(":")[1]
            battles.append((item, one, two, line["preference"]))
    frame = pd.DataFrame(battles, columns=["instruction_id", "model_1", "model_2", "preference"])
    wanted = bradley_terry(frame, anchor="base")
    assert found.models == wanted.models == ("bad", "base", "good", "middling")
    assert found.rating == pytest.approx(wanted.rating)
    assert found.low == pytest.approx(wanted.low)
    assert (found.n_battles, found.n_clusters) == (72, 12)
    assert found.rating[1] == 1000


def test_an_interrupted_meeting_goes_on_where_it_stopped(board, rivals, monkeypatch, leaderboard):
    judge = Checklist.judge
    asked: list[str] = []

    def interrupted(
        self: Checklist, shown: Sequence[Shown], caller: Caller, task: Task
    ) -> Iterator[Verdict]:
        for n, (view, verdict) in enumerate(
            zip(shown, judge(self, shown, caller, task), strict=True)
        ):
            if n == 5:
                raise KeyboardInterrupt
            asked.append(view.comparison.id)
            yield verdict

    with monkeypatch.context() as patch:
        patch.setattr(Checklist, "judge", interrupted)
        done = leaderboard("compare", "toy", "good", "bad", "--direct", "--results", rivals)
    assert done.code == 130
    file = folder(rivals, "bad--vs--good") / "annotations.jsonl"
    assert len(read_lines(file)) == 5
    with file.open("a") as torn:
        torn.write('{"comparison_id": "bad:toy-05", "anno')  # as a killed run leaves it
    held = set(asked)
    asked.clear()

    def counting(
        self: Checklist, shown: Sequence[Shown], caller: Caller, task: Task
    ) -> Iterator[Verdict]:
        asked.extend(view.comparison.id for view in shown)
        return judge(self, shown, caller, task)

    monkeypatch.setattr(Checklist, "judge", counting)
    head_to_head(board, ["good", "bad"])
    assert len(asked) == 7
    assert not held & set(asked)
    assert len(read_lines(file)) == 12


def test_other_texts_are_judged_anew(board, rivals, asked, tmp_path):
    head_to_head(board, ["good", "middling"])
    asked.clear()
    answers = mixed_answers(6)
    answers[11] = "word11"
    file = write_answers(tmp_path / "middling.jsonl", answers)
    evaluation.evaluate(str(file), board="toy", results=rivals, overwrite=True)
    lines = folder(rivals, "good--vs--middling") / "annotations.jsonl"
    whole = lines.read_text()
    assert board_strengths(board).n_battles == 36 + 11, "the verdict on the old answer is missing"
    lines.write_text(whole.splitlines(keepends=True)[11])
    with pytest.raises(UserError, match="compare toy ROW ROW --direct"):
        board_strengths(board)
    lines.write_text(whole)
    asked.clear()
    (duel,) = head_to_head(board, ["good", "middling"]).duels
    assert asked == ["good:toy-11"]
    assert (duel.rate.n_draws, duel.rate.n_wins) == (7, 5)


def test_verdicts_of_another_panel_of_the_same_names_are_not_taken(board, rivals, asked):
    head_to_head(board, ["good", "bad"])
    manifest = folder(rivals, "bad--vs--good") / "manifest.json"
    assert set(read_json(manifest)) == set(documented("manifest.json"))
    edit_json(manifest, parts={"panel": "sha256:other"})
    with pytest.raises(UserError, match="holds no verdicts but those against 'base'"):
        board_strengths(board)
    asked.clear()
    head_to_head(board, ["good", "bad"])
    assert len(asked) == 12
    assert read_json(manifest)["parts"]["panel"] == board.hashes["panel"]


def test_the_folder_is_no_row(board, rivals, leaderboard):
    before = leaderboard("show", "toy", "--results", rivals).out
    head_to_head(board, ["good", "bad"])
    assert {row.name for row in board_rows(board)} == set(ROWS)
    assert leaderboard("show", "toy", "--results", rivals).out == before
    assert leaderboard("board", "check", "toy", "--results", rivals).code == 0
    assert "<board>/head_to_head/<A>--vs--<B>/" in documented("The layout")
    assert "head_to_head" in RESERVED
    with pytest.raises(UserError, match="reserved"):
        check_name("Head_to_Head", "the row's name")


def test_judges_see_both_orders_where_the_board_says_so(tmp_path):
    make_board(tmp_path / "toy", panel=LONGEST, settings=replace(TOY, references=("base", "more")))
    for name, texts in (("good", good_answers()), ("bad", bad_answers())):
        file = write_answers(tmp_path / f"{name}.jsonl", texts)
        evaluation.evaluate(str(file), board="toy", results=tmp_path)
    board = load_board("toy", tmp_path)
    # Two references are enough for strengths, and meet each other as rows do.
    assert board_strengths(board).n_battles == 48
    (duel,) = head_to_head(board, ["base", "more"]).duels
    assert (duel.rate.n_draws, duel.rate.value) == (12, 0.5)
    assert board_strengths(board).models == ("bad", "base", "good", "more")
    assert board_strengths(board).n_battles == 60
    (duel,) = head_to_head(board, ["good", "bad"]).duels
    assert duel.rate.n_losses == 12


def test_private_instructions_meet_like_any(tmp_path):
    private = [replace(i, visibility="private") for i in toy_instructions(12)]
    make_board(tmp_path / "toy", private)
    for name, good in ROWS.items():
        file = write_answers(tmp_path / f"{name}.jsonl", mixed_answers(good))
        evaluation.evaluate(str(file), board="toy", results=tmp_path)
    (duel,) = head_to_head(load_board("toy", tmp_path), ["good", "bad"]).duels
    assert duel.rate.n_wins == 12


# ------------------------------------------------------------------------------- what is refused
def test_what_cannot_meet_is_refused(board, rivals, leaderboard, asked, tmp_path):
    def run(*names: str):
        return leaderboard("compare", "toy", *names, "--direct", "--results", rivals)

    refused(run("good"), "name two rows or references at least")
    refused(run("good", "--baseline", "good"), "name two rows or references at least")
    refused(run("good", "nobody"), "no row 'nobody'; the board has: bad, base, good, middling")
    refused(run("good", "good"), "good is compared with itself")
    refused(run("base", "good", "base"), "a row is put against itself")
    file = write_answers(tmp_path / "x.jsonl", good_answers())
    evaluation.evaluate(str(file), board="toy", results=rivals, name="a--vs--b")
    refused(run("good", "a--vs--b"), "'a--vs--b' cannot be put against others")
    (rivals / "toy" / "bad" / "outputs.jsonl").unlink()
    asked.clear()
    refused(run("good", "middling", "bad"), "the answers of 'bad' are not stored")
    assert asked == [], "what is wrong with one is said before any two are judged"


def test_answers_of_which_only_the_length_is_known_are_refused(board, rivals, leaderboard):
    file = rivals / "toy" / "bad" / "outputs.jsonl"
    lines = [{**line, "text": "", "length": 36} for line in read_lines(file)]
    assert set(lines[0]) <= set(Output.__dataclass_fields__)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = leaderboard("compare", "toy", "good", "bad", "--direct", "--results", rivals)
    refused(done, "12 of 12 answers of 'bad' are stored without their texts")
    assert not folder(rivals, "bad--vs--good").exists()


def test_recorded_verdicts_are_replayed_or_missed(tmp_path, leaderboard):
    rows = [
        {"instruction_id": f"toy-{k:02d}", "generator_1": one, "generator_2": two, "preference": p}
        for k in range(12)
        for one, two, p in (
            ("base", "x", 1), ("base", "y", 0), ("base", "z", 0.5), ("y", "x", k % 2)
        )
    ]  # fmt: skip
    verdicts = write_rows(tmp_path / "people.jsonl", rows)
    results = tmp_path / "results"
    make_board(results / "toy")
    leaderboard("board", "new", "rec", "--from", "toy", "--judge", f"recorded/{verdicts}",
                "--results", results)  # fmt: skip
    for name in ("x", "y", "z"):
        file = write_answers(tmp_path / f"{name}.jsonl", good_answers())
        evaluation.evaluate(str(file), board="rec", results=results)
    board = load_board("rec", results)
    (duel,) = head_to_head(board, ["x", "y"]).duels
    assert (duel.rate.n_wins, duel.rate.n_losses) == (6, 6)
    done = leaderboard("compare", "rec", "x", "z", "--direct", "--results", results)
    refused(done, "none on 'x' against 'z'", "board new rec-live --from rec --judge JUDGE")


# ------------------------------------------------------------------------------------ the command
def test_the_command_prints_rates_and_ratings(board, rivals, leaderboard):
    done = leaderboard("compare", "toy", "good", "middling", "--direct", "--results", rivals,
                       "--format", "markdown")  # fmt: skip
    assert (done.code, done.err) == (0, "")
    (duel,) = head_to_head(board, ["good", "middling"]).duels
    _, line = grid(done.out)[:2]
    assert line == ["good", "middling", f"{100 * duel.rate.value:.1f}",
                    f"[{100 * duel.rate.low:.1f}, {100 * duel.rate.high:.1f}]",
                    f"{2 / 2**6:.4f}", f"{2 / 2**6:.4f}", "6/6/0", "12/12"]  # fmt: skip
    assert (
        "p: two-sided sign-flip test of the preferences less one half; Holm: the same" in done.out
    )
    strengths = board_strengths(board)
    assert "base is at 1,000" in done.out
    table = leaderboard(
        "compare", "toy", "--strengths", "--results", rivals, "--format", "markdown"
    )
    head, *lines = grid(table.out)
    assert head == ["model", "rating", "interval", "wins against base (%)"]
    best = np.argsort(-strengths.rating)
    assert [line[0] for line in lines] == [strengths.models[i] for i in best]
    assert [line[1] for line in lines] == [f"{r:.0f}" for r in sorted(strengths.rating)[::-1]]


def test_data_hold_the_documented_keys(rivals, leaderboard):
    def run(*args: str) -> str:
        done = leaderboard("compare", "toy", *args, "--results", rivals)
        assert done.code == 0, done.err
        return done.out

    (pair,) = json.loads(run("good", "bad", "--direct", "--format", "json"))
    assert list(pair) == documented("What compare prints", 1)
    rows = list(csv.DictReader(io.StringIO(run("--strengths", "--format", "csv"))))
    assert list(rows[0]) == documented("What compare prints", 2)
    assert {row["model"]: row["win_probability"] for row in rows}["base"] == "0.5"
    some = json.loads(run("good", "bad", "--direct", "--strengths", "--format", "json"))
    assert {one["model"] for one in some} == {"good", "bad", "base"}
    text = run("good", "bad", "--direct", "--format", "latex")
    assert text.count("\\begin{table}") == 2
    assert "Direct win rates (\\%) on Toy" in text


def test_strengths_of_one_reference_alone_are_refused(rivals, leaderboard, asked):
    done = leaderboard("compare", "toy", "--strengths", "--results", rivals)
    refused(done, "strengths say nothing that the win rates do not",
            "leaderboard compare toy ROW ROW --direct")  # fmt: skip
    assert asked == []


def test_the_stored_comparison_is_untouched_by_meetings(board, rivals):
    before = compare("good", "bad", board=board)
    head_to_head(board, ["good", "bad"])
    assert compare("good", "bad", board=board) == before


# ---------------------------------------------------------------------------------- answers files
def answers_file(path: Path, texts: Sequence[str], **more: str) -> Path:
    rows = [{"instruction": f"Say word{k}.", "output": t, **more} for k, t in enumerate(texts)]
    return write_rows(path, rows)


@pytest.fixture
def files(tmp_path) -> list[Path]:
    """Three files: the second is the longest everywhere but once, the third ties with the first."""
    return [
        answers_file(tmp_path / "short.jsonl", ["abc"] * 9 + ["long enough"]),
        answers_file(tmp_path / "long.csv", ["abcdef"] * 10, generator="Long & Co"),
        answers_file(tmp_path / "other.json", ["xyz"] * 9 + ["also enough"]),
    ]


def test_answers_files_need_no_board(files, tmp_path, leaderboard, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = files_of(tmp_path)
    done = leaderboard("compare", *files, "--panel", "heuristic/longest", "--format", "json")
    assert (done.code, done.err) == (0, "")
    pairs = json.loads(done.out)
    assert [(p["a"], p["b"], p["win_rate"], p["n_wins"], p["n_ties"]) for p in pairs] == [
        ("short", "Long & Co", pytest.approx(0.1), 1, 0),
        ("short", "other", 0.5, 0, 10),
        ("Long & Co", "other", pytest.approx(0.9), 9, 0),
    ]
    assert files_of(tmp_path) == before, "nothing is stored"
    text = leaderboard("compare", *files, "--panel", "heuristic/longest").out
    assert "short is at 1,000" in text
    two = leaderboard("compare", *files[:2], "--panel", "heuristic/longest").out
    assert "1,000" not in two, "two models' ratings say nothing that the win rate does not"
    paper = leaderboard("compare", *files, "--panel", "heuristic/longest", "--format", "latex").out
    assert "Long \\& Co" in paper


def test_files_are_matched_by_text_and_id(tmp_path):
    one = write_rows(tmp_path / "one.jsonl", [
        {"instruction": "Add", "input": "1 and 2", "instruction_id": "i1", "output": "3"},
        {"instruction": "Say hello", "instruction_id": "i2", "output": "hello there"}])  # fmt: skip
    two = write_rows(tmp_path / "two.jsonl", [
        {"instruction": "Say hello", "output": "hello"},
        {"instruction": "Add\n\n1 and 2", "output": "three"}])  # fmt: skip
    (duel,) = compare_files([one, two], find_panel("heuristic/longest")).duels
    assert (duel.a, duel.b, duel.rate.n_wins, duel.rate.n_losses) == ("one", "two", 1, 1)
    again = write_rows(tmp_path / "three.jsonl", [
        {"instruction": "Say hello", "instruction_id": "x", "output": "hello"}])  # fmt: skip
    with pytest.raises(UserError, match=r"three.jsonl, line 1: this instruction is 'i2' elsewhere"):
        compare_files([one, again], find_panel("heuristic/longest"))


def test_a_panel_is_a_name_a_file_or_a_judge(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('[[judges]]\nkind = "heuristic"\nrule = "shortest"\nname = "brief"\n')
    assert find_panel(str(file)).names == ["brief"]
    assert find_panel("offline").names == ["checklist"]
    assert find_panel("heuristic/random").names == ["heuristic/random"]
    with pytest.raises(UserError, match=r"rule must be one of longest, shortest, random"):
        find_panel("heuristic/best")
    with pytest.raises(
        UserError, match=r"no panel 'nobody'; packaged: .*offline.*; .*a judge: checkl"
    ):
        find_panel("nobody")


def test_files_that_cannot_meet_are_refused(files, tmp_path, leaderboard):
    def run(*given: Path, panel: str = "heuristic/longest"):
        return leaderboard("compare", *given, "--panel", panel)

    fewer = answers_file(tmp_path / "fewer.jsonl", ["abc"] * 9)
    for pair in ((files[0], fewer), (fewer, files[0])):
        refused(run(*pair), "of the 10 instructions of these files, ",
                "fewer.jsonl has no answer to 1, the first of which is 'Say word9.'")  # fmt: skip
        assert "short.jsonl" not in run(*pair).err
    for panel in ("checklist", "offline"):
        refused(run(files[0], files[1], panel=panel),
                "checklist needs the criteria of a board's instructions",
                "leaderboard compare BOARD ROW ROW --direct")  # fmt: skip
    refused(run(files[0]), "name two answers files at least")
    refused(run(files[0], tmp_path / "none.jsonl"), "none.jsonl: no such file")
    ids = write_answers(tmp_path / "ids.jsonl", good_answers())
    refused(run(ids, files[0]), "no instruction is answered in all of these files",
            "ids.jsonl begins with 'toy-00'", "short.jsonl begins with 'Say word0.'")  # fmt: skip
    both = [write_rows(tmp_path / f"{name}.jsonl", [
        {"instruction": f"Say {word}", "output": "x"} for word in words])
        for name, words in (("ab", "AB"), ("bcd", "BCD"))]  # fmt: skip
    refused(run(*both), "of the 4 instructions", "ab.jsonl has no answer to 2, the first of which",
            "'Say C'; ", "bcd.jsonl has no answer to 1, the first of which is 'Say A'")  # fmt: skip
    bare = write_rows(tmp_path / "bare.jsonl", [{"output": "x"}])
    refused(run(bare, files[0]), "bare.jsonl, line 1: neither `instruction_id` nor `instruction`")
    (tmp_path / "sub").mkdir()
    same = answers_file(tmp_path / "sub" / "short.jsonl", ["abc"] * 10)
    refused(run(files[0], same), "two of the files have one name: short, short")
    refused(leaderboard("compare", *files), "say who judges answers files: --panel")
    doubled = write_rows(tmp_path / "doubled.jsonl", [
        {"instruction": text, "instruction_id": "i", "output": "x"} for text in "ab"])  # fmt: skip
    refused(run(doubled, doubled), "line 2: two instructions have the instruction_id 'i'")


# ------------------------------------------------------------------------------ files known by ids
def test_files_are_matched_by_id_where_no_text_is_known(tmp_path, leaderboard):
    good = write_answers(tmp_path / "good.jsonl", good_answers())
    bad = write_answers(tmp_path / "bad.jsonl", bad_answers())
    (duel,) = compare_files([good, bad], find_panel("heuristic/shortest")).duels
    assert (duel.a, duel.rate.n_wins, duel.rate.n_judged) == ("good", 12, 12)
    texts = [
        {"instruction": i.text, "instruction_id": i.id, "output": ""} for i in toy_instructions(12)
    ]
    linked = write_rows(tmp_path / "linked.jsonl", texts)
    by_text = answers_file(tmp_path / "texts.jsonl", [""] * 12)
    write_rows(by_text, [{k: row[k] for k in ("instruction", "output")} for row in texts])
    found = compare_files([by_text, good, linked], find_panel("heuristic/longest")).duels
    assert [duel.rate.n_losses for duel in found] == [12, 0, 0]


def test_the_packaged_examples_can_be_compared(leaderboard):
    examples = packaged_boards()["starter"] / "examples"
    done = leaderboard("compare", examples / "careful.jsonl", examples / "lazy.jsonl",
                       "--panel", "heuristic/longest", "--format", "json")  # fmt: skip
    assert (done.code, done.err) == (0, "")
    (pair,) = json.loads(done.out)
    assert (pair["a"], pair["b"], pair["n_judged"]) == ("careful", "lazy", pair["n_items"])


class Reader:
    """A judge that reads the instruction and likes the first answer it is shown."""

    name, sees_order, reads_instruction = "reader", True, True

    def identity(self):
        return {}

    def obstacle(self, instruction):
        return None

    def judge(self, shown, caller, task):
        assert all(view.instruction.text for view in shown)
        return [Verdict(0.2) for _ in shown]


def test_a_judge_that_reads_instructions_needs_their_texts(tmp_path, files):
    panel = replace(find_panel("heuristic/longest"), judges=(Reader(),))
    good = write_answers(tmp_path / "good.jsonl", good_answers())
    with pytest.raises(UserError, match=r"reader reads .* text of 12 of 12 nowhere.*'toy-00'"):
        compare_files([good, write_answers(tmp_path / "bad.jsonl", bad_answers())], panel)
    for duel in compare_files(files, panel).duels:
        assert duel.rate.value == pytest.approx(0.5), "in both orders, it has no preference"
        assert (duel.p_value, duel.p_holm, duel.disagrees) == (1, 1, False)


def test_a_rows_own_answers_are_sent_to_its_board(rivals, leaderboard):
    files = [rivals / "toy" / name / "outputs.jsonl" for name in ("good", "bad")]
    done = leaderboard("compare", *files, "--panel", "heuristic/longest")
    refused(
        done, "line 1: `prompt` cannot be checked", "leaderboard compare BOARD ROW ROW --direct"
    )


# --------------------------------------------------------------------------- families and baselines
def test_holm_is_over_the_pairs_that_meet(board):
    for baseline, k in ((None, 3), ("middling", 2)):
        found = head_to_head(board, ["good", "middling", "bad"], baseline=baseline).duels
        assert [duel.n_comparisons for duel in found] == [k] * k
        assert [duel.p_holm for duel in found] == list(holm([duel.p_value for duel in found]))
    against = [(duel.a, duel.b, duel.rate.n_wins) for duel in found]
    assert against == [("good", "middling", 6), ("bad", "middling", 0)]
    assert [duel.p_value for duel in found] == pytest.approx([2 / 2**6] * 2)


def test_p_of_a_meeting_is_that_of_the_preferences(board, rivals):
    (duel,) = head_to_head(board, ["good", "bad"]).duels
    lines = read_lines(folder(rivals, "bad--vs--good") / "annotations.jsonl")
    assert duel.p_value == pytest.approx(sign_flip_p([p["preference"] - 0.5 for p in lines]))
    (back,) = head_to_head(board, ["bad", "good"]).duels
    assert back.p_value == duel.p_value


def test_none_named_are_all_rows_and_the_reference(board, rivals, leaderboard):
    duels = head_to_head(board).duels
    assert [(d.a, d.b) for d in duels] == list(combinations(["good", "base", "middling", "bad"], 2))
    done = leaderboard("compare", "toy", "--direct", "--baseline", "base", "--results", rivals,
                       "--format", "markdown")  # fmt: skip
    assert [line[:2] for line in grid(done.out)[1:]] == [
        ["good", "base"], ["middling", "base"], ["bad", "base"]]  # fmt: skip
    assert "Holm: adjusted for the 3 comparisons shown" in done.out
    assert "1,000" not in done.out, "all met one: ratings say nothing that the win rates do not"
    done = leaderboard("compare", "toy", "good", "bad", "--direct", "--baseline", "middling",
                       "--results", rivals)  # fmt: skip
    assert "base is at 1,000" in done.out
    refused(leaderboard("compare", "toy", "--direct", "--baseline", "x", "--results", rivals),
            "no row 'x'")  # fmt: skip


def test_files_meet_a_baseline(files, leaderboard):
    def run(*args: str | Path):
        return leaderboard("compare", *args, "--panel", "heuristic/longest", "--format", "json")

    for named in (files, files[1:]):
        pairs = json.loads(run(*named, "--baseline", files[0]).out)
        assert {(one["a"], one["b"]) for one in pairs} == {("Long & Co", "short"),
                                                           ("other", "short")}  # fmt: skip
        assert {one["n_comparisons"] for one in pairs} == {2}
        assert [one["p_value"] for one in pairs] == pytest.approx([22 / 2**10, 1])
        assert [one["p_holm"] for one in pairs] == pytest.approx([44 / 2**10, 1])
    refused(run(*files, "--baseline", "short"), "--baseline short: with --panel it is an answers")
    rated = json.loads(run(*files, "--baseline", files[2], "--strengths").out)
    assert {one["model"]: one["rating"] for one in rated}["other"] == 1000
    text = leaderboard("compare", *files, "--baseline", files[0], "--panel", "heuristic/longest",
                       "--format", "latex").out  # fmt: skip
    assert text.count("\\begin{table}") == 1
    assert "adjusted for the 2 comparisons shown" in text


def test_where_interval_and_test_of_a_meeting_differ_it_is_said(tmp_path, leaderboard):
    """Nine of eleven hard verdicts: p = 0.065, and an interval just above one half."""
    one = answers_file(tmp_path / "one.jsonl", ["longer"] * 9 + [""] * 2 + ["same"] * 9)
    two = answers_file(tmp_path / "two.jsonl", ["short"] * 9 + ["x"] * 2 + ["same"] * 9)
    done = leaderboard("compare", one, two, "--panel", "heuristic/longest")
    assert "two minds about 50 %: read that as undecided" in done.out


def test_what_is_not_judged_tells_nothing():
    assert duels_of([], {}) == ()
    missing = {
        ("b", "a"): pd.DataFrame(
            {"instruction_id": ["i"], "preference": [np.nan], "low": [0.0], "high": [1.0]}
        )
    }
    (duel,) = duels_of([("a", "b")], missing)
    assert (duel.p_value, duel.p_holm, duel.rate.n_judged) == (1, 1, 0)


def test_files_of_one_generator_are_called_by_their_own_names(tmp_path):
    files = [answers_file(tmp_path / f"{n}.jsonl", [n] * 3, generator="m") for n in ("t0", "t1")]
    (duel,) = compare_files(files, find_panel("heuristic/longest")).duels
    assert (duel.a, duel.b) == ("t0", "t1")


def test_board_check_finds_verdicts_that_were_edited(board, rivals, leaderboard):
    head_to_head(board, ["good", "bad"])
    assert leaderboard("board", "check", "toy", "--results", rivals).code == 0
    file = folder(rivals, "bad--vs--good") / "annotations.jsonl"
    write_rows(file, [line | {"preference": 0.0} for line in read_lines(file)])
    checked = leaderboard("board", "check", "toy", "--results", rivals)
    assert checked.code == 3
    assert "WRONG head_to_head/bad--vs--good: its verdicts are not those that" in checked.out
    file.write_text("nothing\n{}\n", encoding="utf-8")
    assert leaderboard("board", "check", "toy", "--results", rivals).code == 3


@pytest.mark.parametrize("name", ["vs--good", "good--vs", "a--vs--b", "vs"])
def test_names_that_would_make_two_pairs_one_folder_are_refused(
    board, rivals, leaderboard, tmp_path, name
):
    answers = write_answers(tmp_path / "odd.jsonl", good_answers())
    leaderboard("eval", answers, "--name", name, "--board", "toy", "--results", rivals)
    with pytest.raises(UserError, match="could not be told apart"):
        head_to_head(board, ["good", name])


# ------------------------------------------------------------------------------- what servers cost
@pytest.fixture
def paid(serve, tmp_path, monkeypatch):
    """The address of a model whose calls cost something."""
    set_prices(monkeypatch, tmp_path / "settings", **{"openai-api__m": (1, 1)})
    server = serve(answer)
    return server, f"pairwise/openai-api/m@{server.url}/v1"


def dollars_of(err: str) -> float:
    return float(err.split("to models, $")[1].split()[0].rstrip(".;"))


@pytest.mark.parametrize("flags", [(), ("--strengths",), ("--format", "json")])
@pytest.mark.parametrize("share", [0.02, 0.3])
def test_files_at_the_budget(flags, share, paid, leaderboard, tmp_path, monkeypatch):
    server, judge = paid
    files = [answers_file(tmp_path / f"{n}.jsonl", [f"{n} {k}" for k in range(12)])
             for n in ("a", "b", "c")]  # fmt: skip
    whole = leaderboard("compare", *files, "--panel", judge)
    assert whole.code == 0, whole.err
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "another"))
    calls, most = server.calls, share * dollars_of(whole.err)
    run = leaderboard("compare", *files, "--panel", judge, "--max-cost", f"{most:.7f}", *flags)
    assert run.code == 4, run.err
    assert server.calls - calls < calls
    assert "left, and the next call needs $" in run.err
    assert "; the same command with a higher --max-cost goes on" in run.err
    if "json" in flags:
        duels = json.loads(run.out)
        judged = [duel for duel in duels if duel["n_judged"]]
        assert {duel["n_comparisons"] for duel in duels} == {len(judged)}
    else:
        assert "not judged" in run.out
    again = leaderboard("compare", *files, "--panel", judge)
    assert (again.code, again.out) == (0, whole.out)
    assert server.calls == 2 * calls


def test_rows_at_the_budget(paid, leaderboard, tmp_path):
    server, _ = paid
    table = {"kind": "pairwise", "name": "j", "model": "openai-api/m",
             "base_url": f"{server.url}/v1"}  # fmt: skip
    make_board(tmp_path / "toy", 12, {"judges": [table]})
    for name in ("one", "two"):
        answers = write_answers(tmp_path / f"{name}.jsonl", [f"{name} {k}" for k in range(12)])
        assert leaderboard("eval", answers, "--board", "toy", "--results", tmp_path).code == 0
    direct = ("compare", "toy", "one", "two", "--direct", "--results", tmp_path)
    run = leaderboard(*direct, "--max-cost", "0.000001")
    assert run.code == 4, run.err
    assert "left, and the next call needs $" in run.err
    assert "; the same command with a higher --max-cost goes on" in run.err
    run = leaderboard(*direct)
    assert run.code == 0, run.err
    assert dollars_of(run.err) > 0
