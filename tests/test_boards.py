"""A board pins what makes its numbers comparable, travels whole, and is never half there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import (
    bad_answers,
    files_of,
    good_answers,
    make_board,
    refused,
    toy_instructions,
    write_answers,
    write_rows,
)

from judges.errors import UserError
from judges.schema import Output
from leaderboard.boards import board as boards
from leaderboard.boards import catalogue
from leaderboard.boards.board import load_board, write_board
from leaderboard.boards.catalogue import board_names, packaged_boards
from leaderboard.boards.settings import Settings


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path} does not hold {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


# ---------------------------------------------------------------------------- edited by hand
EDITS = {
    "an instruction": ("evalset.jsonl", "Say word3", "Shout word3", "evalset.jsonl"),
    "a check": ("evalset.jsonl", '"weight": 2', '"weight": 3', "evalset.jsonl"),
    "a reference answer": ("references/base.jsonl", "The word", "A word", "references/"),
    "the panel": (
        "panel.toml",
        'kind = "checklist"',
        'kind = "checklist"\ntie_band = 0.2',
        "panel",
    ),
    "the orders": ("board.toml", '"both"', '"fixed"', "board.toml"),
    "the sampling": ("board.toml", "max_tokens = 1024", "max_tokens = 9", "board.toml"),
    "a hash": ("board.toml", 'evalset = "sha256:', 'evalset = "sha256:0', "evalset.jsonl"),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_board_is_refused_with_what_changed_and_the_way_on(what, results, leaderboard):
    file, old, new, named = EDITS[what]
    edit(results / "toy" / file, old, new)
    answers = write_answers(results / "good.jsonl", good_answers())
    for command in (("eval", answers, "--board", "toy"), ("board", "check", "toy")):
        run = leaderboard(*command, "--results", results)
        assert run.code == 2
        assert "has been changed since it was made" in run.err
        assert named in run.err
        assert "leaderboard board new NAME --from toy" in run.err
        others = {entry[3] for entry in EDITS.values()} - {named}
        assert not [other for other in others if other in run.err], "names a part that is as it was"
    assert not (results / "toy" / "good").exists()


def test_the_command_of_the_refusal_makes_a_board_that_pins_the_edit(results, leaderboard):
    edit(results / "toy" / "evalset.jsonl", "Say word3", "Shout word3")
    edit(results / "toy" / "panel.toml", '"checklist"', '"checklist"\ntie_band = 0.2')
    run = leaderboard("board", "new", "loud", "--from", "toy", "--results", results)
    assert run.code == 0, run.err
    loud = load_board("loud", results)
    assert loud.by_id["toy-03"].text == "Shout word3, and nothing else."
    assert loud.panel.identity()["judges"]["checklist"]["tie_band"] == 0.2


@pytest.mark.parametrize(
    ("old", "new"),
    [('title = "Toy"', 'title = "Another title"'), ('note = ""', 'note = "Mind the step."')],
)
def test_title_and_note_may_be_edited(old, new, results):
    before = load_board("toy", results).hashes
    edit(results / "toy" / "board.toml", old, new)
    assert load_board("toy", results).hashes == before


def test_the_layout_of_a_file_is_not_what_is_hashed(results):
    path = results / "toy" / "evalset.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    turned = [dict(reversed(line.items())) for line in lines]
    path.write_text("\n\n".join(json.dumps(line, indent=None) for line in turned), "utf-8")
    load_board("toy", results)


@pytest.mark.parametrize("lost", ["panel.toml", "evalset.jsonl", "references/base.jsonl"])
def test_a_board_that_lacks_a_file_says_which(lost, results, leaderboard):
    (results / "toy" / lost).unlink()
    run = leaderboard("board", "check", "toy", "--results", results)
    refused(run, f"{results / 'toy' / lost} is missing")


BROKEN = {
    "board.toml": ("title = [", "not valid TOML"),
    "panel.toml": ("judges = [", "not valid TOML"),
    "evalset.jsonl": ('{"id": "a"}\n{"id"', "line 1: messages"),
    "references/base.jsonl": ('{"instruction_id": "a", "text": "b"}\n', "line 1: generator"),
}


@pytest.mark.parametrize("file", BROKEN)
def test_a_broken_file_of_a_board_is_named_with_what_is_wrong(file, results, leaderboard):
    content, complaint = BROKEN[file]
    (results / "toy" / file).write_text(content, encoding="utf-8")
    run = leaderboard("board", "check", "toy", "--results", results)
    refused(run, str(results / "toy" / file), complaint)


def test_board_toml_without_its_hashes_is_refused(results):
    path = results / "toy" / "board.toml"
    head, _, _ = path.read_text("utf-8").partition("[hashes]")
    path.write_text("hashes = 3\n" + head, encoding="utf-8")
    with pytest.raises(UserError, match=r"has been changed .* was unknown"):
        load_board("toy", results)


def test_an_unknown_setting_is_named(results):
    edit(results / "toy" / "board.toml", "seed = 0", "seed = 0\nsead = 1")
    with pytest.raises(UserError, match=r"board\.toml: sead"):
        load_board("toy", results)


# ----------------------------------------------------------------------------------- travelling
def test_a_board_zipped_and_unzipped_elsewhere_evaluates_to_the_same(
    results, tmp_path, leaderboard
):
    lines = [
        {"instruction_id": f"toy-{k:02d}", "generator_1": "base", "generator_2": "good",
         "preference": k / 12, "order": order}
        for k in range(12) for order in ("original", "swapped")
    ]  # fmt: skip
    verdicts = write_rows(results / "verdicts.jsonl", lines)
    run = leaderboard(
        "board", "new", "mixed", "--from", "toy", "--judge", "checklist",
        "--judge", f"recorded/{verdicts}", "--results", results,
    )  # fmt: skip
    assert run.code == 0, run.err
    verdicts.unlink()  # the board contains what it needs
    shutil.make_archive(str(tmp_path / "zipped"), "zip", results, "mixed")
    elsewhere = tmp_path / "another place" / "boards"
    shutil.unpack_archive(tmp_path / "zipped.zip", elsewhere)
    answers = write_answers(tmp_path / "good.jsonl", good_answers())
    for folder in (results, elsewhere):
        run = leaderboard("eval", answers, "--board", "mixed", "--results", folder)
        assert run.code == 0, run.err
    for file in ("annotations.jsonl", "summary.json", "outputs.jsonl", "manifest.json"):
        here, there = results / "mixed" / "good" / file, elsewhere / "mixed" / "good" / file
        assert here.read_bytes() == there.read_bytes(), file
    here, there = results / "mixed" / "leaderboard.csv", elsewhere / "mixed" / "leaderboard.csv"
    assert here.read_bytes() == there.read_bytes()


# ------------------------------------------------------------------------------ packaged boards
@pytest.fixture
def packaged(tmp_path, monkeypatch) -> Path:
    """A copy of the packaged boards that stands in for the installed ones."""
    folder = tmp_path / "installed"
    for name, path in packaged_boards().items():
        shutil.copytree(path, folder / name)
    monkeypatch.setattr(
        catalogue, "packaged_boards", lambda: {path.name: path for path in folder.iterdir()}
    )
    return folder


def test_a_packaged_board_is_copied_on_first_use(packaged, tmp_path):
    board = load_board("starter", tmp_path / "fresh" / "results")
    assert board.path == tmp_path / "fresh" / "results" / "starter"
    assert files_of(board.path) == files_of(packaged / "starter")
    assert [path.name for path in board.path.parent.iterdir()] == ["starter"]


def test_a_copy_of_a_read_only_package_can_be_written(packaged, tmp_path):
    for path in packaged.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    board = load_board("starter", tmp_path / "results")
    for path in [board.path, *board.path.rglob("*")]:
        assert path.stat().st_mode & 0o200, path
    for path in [packaged, *packaged.rglob("*")]:
        path.chmod(0o755)  # so that pytest can clear them away


def test_editing_the_package_leaves_an_existing_board_working_and_unchanged(
    packaged, tmp_path, leaderboard
):
    results = tmp_path / "results"
    answers = packaged / "starter" / "examples" / "lazy.jsonl"
    assert leaderboard("eval", answers, "--results", results).code == 0
    before = files_of(results / "starter")
    edit(packaged / "starter" / "evalset.jsonl", '"content": "', '"content": "Please. ')
    edit(packaged / "starter" / "panel.toml", "checklist", "heuristic")
    run = leaderboard("eval", answers, "--results", results)
    assert run.code == 0, run.err
    assert files_of(results / "starter") == before


def test_two_first_uses_at_once_leave_one_whole_board(packaged, tmp_path, monkeypatch):
    results = tmp_path / "results"
    copied = shutil.copyfile

    def overtaken(source: Path, target: Path) -> object:
        monkeypatch.setattr(shutil, "copyfile", copied)
        load_board("starter", results)  # the other run begins later and is done first
        return copied(source, target)

    monkeypatch.setattr(shutil, "copyfile", overtaken)
    load_board("starter", results)
    assert files_of(results / "starter") == files_of(packaged / "starter")
    assert [path.name for path in results.iterdir()] == ["starter"]


def test_a_folder_in_a_packaged_boards_place_is_left_alone(tmp_path):
    mine = tmp_path / "starter" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="is in the way"):
        load_board("starter", tmp_path)
    assert files_of(tmp_path) == {"starter/notes.txt": b"mine"}


def test_the_packaged_boards_hash_to_what_they_say(tmp_path):
    for name in packaged_boards():
        load_board(name, tmp_path)


# ------------------------------------------------------------------------------- all or nothing
def answers_of(n: int) -> dict[str, Output]:
    return {
        i.id: Output(instruction_id=i.id, generator="base", text="x") for i in toy_instructions(n)
    }


def test_a_board_that_cannot_be_written_whole_is_not_written(tmp_path, monkeypatch):
    def interrupted(*args: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(boards, "content_hashes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_board(tmp_path / "toy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a/../b", "con trol", "tab\tbed", "references", "dot.", ""])
def test_a_board_gets_a_usable_name(name, tmp_path, leaderboard):
    run = leaderboard("board", "new", name, "--from", "starter", "--results", tmp_path / "r")
    refused(run, "name")
    assert not (tmp_path / "r").exists()


def test_a_board_is_never_written_over_another(results):
    before = files_of(results)
    with pytest.raises(UserError, match="there already"):
        write_board(
            results / "toy",
            Settings(references=("base",)),
            toy_instructions(3),
            {"base": answers_of(3)},
            {"judges": [{"kind": "checklist"}]},
            {},
        )
    assert files_of(results) == before


# ------------------------------------------------------------------------------------- commands
def test_board_list_shows_boards_rows_and_packaged_ones(results, leaderboard):
    for name, texts in (("good", good_answers()), ("bad", bad_answers())):
        answers = write_answers(results / f"{name}.jsonl", texts)
        assert leaderboard("eval", answers, "--board", "toy", "--results", results).code == 0
    run = leaderboard("board", "list", "--results", results)
    assert run.code == 0
    lines = {line.split()[0]: line.split() for line in run.out.splitlines()[2:]}
    assert lines["toy"] == ["toy", "12", "base", "checklist", "2"]
    assert lines["starter"] == ["starter", "packaged"]
    assert board_names(results) == ["toy"], "listing copies nothing"


def test_board_list_shows_the_others_beside_a_broken_one(results, leaderboard):
    make_board(results / "whole", 3)
    (results / "toy" / "evalset.jsonl").write_text("{", encoding="utf-8")
    run = leaderboard("board", "list", "--results", results)
    lines = {line.split()[0]: line.split() for line in run.out.splitlines()[2:]}
    assert lines["whole"][1] == "3"
    assert lines["toy"] == ["toy", "broken"]
    assert "evalset.jsonl, line 1" in run.err


def test_board_check_judges_the_controls_and_counts_rows(results, leaderboard):
    run = leaderboard("board", "check", "toy", "--results", results)
    assert run.code == 0, run.err
    assert "12 instructions, all hashes as written" in run.out
    assert "6 of 6 where they belong" in run.out
    answers = write_answers(results / "good.jsonl", good_answers())
    leaderboard("eval", answers, "--board", "toy", "--limit", "4", "--results", results)
    run = leaderboard("board", "check", "toy", "--results", results)
    assert "left out: good (partial: 4 of 12 instructions)" in run.out


def test_a_row_of_a_board_with_other_content_is_left_out(results, leaderboard):
    answers = write_answers(results / "good.jsonl", good_answers())
    leaderboard("eval", answers, "--board", "toy", "--results", results)
    row = results / "kept"
    shutil.move(results / "toy" / "good", row)
    shutil.rmtree(results / "toy")
    make_board(results / "toy", 11)
    shutil.move(row, results / "toy" / "good")
    run = leaderboard("board", "check", "toy", "--results", results)
    assert run.code == 0, run.err
    assert "left out: good (judged on a board of this name with other content)" in run.out


def test_the_first_instructions_mix_and_nest(results):
    board = load_board("toy", results)
    chosen: Callable[[int], set[str]] = lambda n: {i.id for i in board.first(n)}  # noqa: E731
    for n in range(1, 12):
        assert len(chosen(n)) == n
        assert chosen(n) < chosen(n + 1)
    assert board.first(None) == board.first(99) == board.instructions
    assert chosen(4) != {i.id for i in board.instructions[:4]}
