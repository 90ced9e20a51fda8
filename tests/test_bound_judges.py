"""A board is bound to all that its judges are: their models' files, their templates, themselves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from conftest import (
    edit_json,
    files_of,
    good_answers,
    make_board,
    read_lines,
    refused,
    write_answers,
    write_rows,
)
from tiny_model import make_lora_adapter

from judges.errors import UserError
from judges.panel import COIN
from judges.registry import make_judge, make_panel
from leaderboard.boards.board import Board, load_board
from leaderboard.rows.results import Row
from leaderboard.rows.summary import row_items

NO_VERDICTS = 3
"""The exit code of a judge that is asked and writes nonsense, as the tiny model does."""
PROMPTS = [{"instruction": "Name a bird.", "output": "A heron, I would say."}]


# ------------------------------------------------------------------ models and templates of judges
@pytest.fixture
def new(leaderboard, tmp_path):
    """Makes a board of one local judge with these keys."""
    prompts = write_rows(tmp_path / "base.jsonl", PROMPTS)

    def make(name: str, model: Path | str, kind: str = "pairwise_logprob", **args: Any) -> Board:
        file = tmp_path / "mine" / "j.toml"
        file.parent.mkdir(exist_ok=True)
        own = "".join(f"{key} = '{value}'\n" for key, value in args.items())
        file.write_text(f"kind = '{kind}'\nmodel = '{model}'\n[args]\ndevice = 'cpu'\n{own}")
        run = leaderboard(
            "board", "new", name, "--prompts", prompts, "--reference", prompts,
            "--judge", file, "--results", tmp_path / "results",
        )  # fmt: skip
        assert run.code == 0, run.err
        return load_board(name, tmp_path / "results")

    return make


@pytest.fixture
def judge_it(leaderboard, tmp_path):
    answers = write_rows(
        tmp_path / "a.jsonl", [{"instruction": "Name a bird.", "output": "A crane."}]
    )
    return lambda board: leaderboard(
        "eval", answers, "--board", board, "--results", tmp_path / "results"
    )


def test_models_that_differ_in_their_adapter_are_different_judges(new, llama_copy, tmp_path):
    one = make_lora_adapter(tmp_path / "one", llama_copy, seed=1)
    two = make_lora_adapter(tmp_path / "two", llama_copy, seed=2)
    plain, first, second = new("plain", llama_copy), new("one", one), new("two", two)
    beside = new("beside", llama_copy, adapter=one)
    found = {board.hashes["panel"] for board in (plain, first, second)}
    assert len(found) == 3
    assert digests(beside) == digests(first), "an adapter is bound by its content"
    weights = [board.panel.judges[0].weights.partition("+")[0] for board in (plain, first, second)]
    assert len(set(weights)) == 1, "the weights below are known to be the same"


def digests(board: Board) -> object:
    """What the only judge says of itself."""
    (judge,) = board.panel.judges
    return judge.identity()


@pytest.mark.parametrize(
    "edit",
    [
        lambda folder: edit_json(folder / "config.json", rms_norm_eps=0.5),
        lambda folder: edit_json(folder / "tokenizer_config.json", chat_template="other"),
        lambda folder: shutil.copy(folder / "other.safetensors", folder / "model.safetensors"),
    ],
    ids=["config", "tokenizer", "weights"],
)
def test_another_model_in_the_folder_is_refused(edit, new, judge_it, llama_copy, other_llama):
    board = new("mine", llama_copy)
    shutil.copy(other_llama / "model.safetensors", llama_copy / "other.safetensors")
    assert judge_it("mine").code == NO_VERDICTS
    shutil.rmtree(board.path / "a")
    edit(llama_copy)
    refused(judge_it("mine"), "is another model than board mine was made with")


@pytest.fixture
def other_llama(tmp_path):
    from tiny_model import make_tiny_llama

    return make_tiny_llama(tmp_path / "other-llama", seed=5)


def test_another_adapter_in_the_folder_is_refused(new, judge_it, llama_copy, tmp_path):
    adapter = make_lora_adapter(tmp_path / "one", llama_copy, seed=1)
    new("mine", adapter)
    shutil.rmtree(adapter)
    make_lora_adapter(adapter, llama_copy, seed=2)
    refused(judge_it("mine"), "is another model than board mine was made with")


PLAIN = "{% for m in messages %}{{ m.content }}\n{% endfor %}"


def test_a_chat_template_is_part_of_the_board(new, judge_it, llama_copy, tmp_path, leaderboard):
    file = tmp_path / "mine" / "t.jinja"
    file.parent.mkdir()
    file.write_text(PLAIN)
    board = new("mine", llama_copy, chat_template="t.jinja")  # seen from the judge's file
    (judge,) = board.panel.judges
    assert judge.args["chat_template"] == "templates/t.jinja"
    assert (board.path / "templates" / "t.jinja").read_text() == PLAIN
    absolute = new("absolute", llama_copy, chat_template=file)
    assert absolute.hashes["panel"] == board.hashes["panel"]
    file.write_text(f"{PLAIN}Say B.")
    assert new("other", llama_copy, chat_template=file).hashes["panel"] != board.hashes["panel"]
    file.unlink()
    run = leaderboard("board", "new", "again", "--from", "mine", "--results", tmp_path / "results")
    assert run.code == 0, run.err
    assert load_board("again", tmp_path / "results").hashes["panel"] == board.hashes["panel"]
    run = judge_it("mine")
    assert run.code == NO_VERDICTS, run.err
    (board.path / "templates" / "t.jinja").write_text(f"{PLAIN}Say B.")
    refused(judge_it("mine"), "has been changed since it was made", "panel.toml")


@pytest.mark.parametrize("kind", ["pairwise", "reward_model"])
def test_a_chat_template_is_hashed_by_what_it_holds(kind, tmp_path):
    table = {"kind": kind, "model": "some/folder", "name": "j", "args": {"chat_template": "t.txt"}}
    with pytest.raises(UserError, match=r"chat template .*t\.txt: cannot be read"):
        make_judge(table, tmp_path).identity()
    (tmp_path / "t.txt").write_text("one")
    one = make_judge(table, tmp_path).identity()
    (tmp_path / "t.txt").write_text("two")
    assert make_judge(table, tmp_path).identity() != one
    plain = make_judge({**table, "args": {"chat_template": "plain"}}, tmp_path)
    assert plain.identity()["args"] == {"chat_template": "plain"}


# ----------------------------------------------------------------- whose verdicts a row's are
def asks(**keys: Any) -> dict[str, Any]:
    return {"judges": [{"kind": "pairwise", "name": "j", "model": "fake/judge", **keys}]}


KINDS = {
    "pairwise": (asks(), asks(temperature=0.5)),
    "prompt": (asks(), asks(prompt="pairwise_brief")),
    "model": (asks(), asks(model="fake/constant")),
    "checklist": (
        {"judges": [{"kind": "checklist", "name": "j", "tie_band": 0.0}]},
        {"judges": [{"kind": "checklist", "name": "j", "tie_band": 0.3}]},
    ),
    "heuristic": (
        {"judges": [{"kind": "heuristic", "name": "j", "rule": "longest"}]},
        {"judges": [{"kind": "heuristic", "name": "j", "rule": "shortest"}]},
    ),
}


@pytest.mark.parametrize("panels", KINDS.values(), ids=KINDS)
def test_another_judges_verdicts_are_not_taken_for_ones_own(panels, tmp_path, leaderboard):
    results = tmp_path / "results"
    answers = write_answers(tmp_path / "a.jsonl", [f"{t} !" for t in good_answers(6)])

    def run(board: str) -> list[dict[str, Any]]:
        done = leaderboard("eval", answers, "--board", board, "--results", results)
        assert done.code in (0, 3), done.err
        return read_lines(results / board / "a" / "annotations.jsonl")

    one, other = (make_board(results / name, 6, p) for name, p in zip("xy", panels, strict=True))
    lines, expected = run("x"), run("y")
    own = [digest for board in (one, other) for digest in board.panel.digests.values()]
    assert {line["judge"] for line in lines} == {own[0]}
    assert {line["judge"] for line in expected} == {own[1]}
    whole = files_of(other.path)
    for folder in ("a", "controls"):  # the rows of another board of this name
        shutil.rmtree(other.path / folder)
        shutil.copytree(one.path / folder, other.path / folder)
    shutil.copy(one.path / "leaderboard.csv", other.path)
    table = leaderboard("eval", answers, "--board", "y", "--results", results, "--dry-run")
    assert table.code == 0, table.err
    assert run("y") == expected
    names = [name for name in whole if name.endswith(("annotations.jsonl", "summary.json"))]
    assert {n: files_of(other.path)[n] for n in names} == {n: whole[n] for n in names}


def test_verdicts_of_others_do_not_count_where_they_are_read(tmp_path, leaderboard):
    results = tmp_path / "results"
    answers = write_answers(tmp_path / "a.jsonl", good_answers(6))
    for name, panel in zip("xy", KINDS["heuristic"], strict=True):
        make_board(results / name, 6, panel)
        assert leaderboard("eval", answers, "--board", name, "--results", results).code == 0
    shutil.copy(results / "x/a/annotations.jsonl", results / "y/a/annotations.jsonl")
    board = load_board("y", results)
    items = row_items(board, Row(board.path / "a").annotations(), board.instructions)
    assert items["preference"].isna().all()
    assert leaderboard("board", "check", "y", "--results", results).code != 0


def test_verdicts_that_do_not_say_whose_they_are_are_kept(tmp_path, leaderboard):
    results = tmp_path / "results"
    board = make_board(results / "x", 6, KINDS["heuristic"][0])
    answers = write_answers(tmp_path / "a.jsonl", good_answers(6))
    flags = ("eval", answers, "--board", "x", "--results", results)
    assert leaderboard(*flags).code == 0
    file = board.path / "a" / "annotations.jsonl"
    old = [{k: v for k, v in line.items() if k != "judge"} for line in read_lines(file)]
    write_rows(file, old)
    assert leaderboard(*flags).code == 0
    assert read_lines(file) == old


def test_no_judge_is_called_as_the_coin_is(tmp_path):
    with pytest.raises(UserError, match="no judge can be called 'coin'"):
        make_panel({"judges": [{"kind": "checklist", "name": COIN}]}, tmp_path)


# --------------------------------------------------------------------------- models on the Hub
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path, tiny_llama, monkeypatch) -> Path:
    """The Hub's own cache of files, with org/llama in it, and no network; gives the files."""
    held = tmp_path / "hub" / "models--org--llama"
    (held / "refs").mkdir(parents=True)
    (held / "refs" / "main").write_text(COMMIT)
    shutil.copytree(tiny_llama, held / "snapshots" / COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return held / "snapshots" / COMMIT


@pytest.mark.parametrize("name", ["hf/org/llama", "hf/org/llama@main", f"hf/org/llama@{COMMIT}"])
def test_a_model_on_the_hub_is_bound_to_its_commit(name, hub, new, judge_it, capsys):
    board = new("mine", name)
    assert board.panel.judges[0].model == f"hf/org/llama@{COMMIT}"
    assert "not bound" not in capsys.readouterr().err
    assert judge_it("mine").code == NO_VERDICTS


def test_a_model_on_the_hub_is_bound_as_the_hub_says(new, hub, monkeypatch):
    def told(name: str, *, revision: str | None, timeout: float) -> Any:
        return huggingface_hub.hf_api.ModelInfo(id=name, sha=f"{revision}".ljust(40, "0"))

    monkeypatch.setattr(huggingface_hub, "model_info", told)
    (judge,) = new("mine", "hf/org/llama@abc").panel.judges
    assert judge.model == f"hf/org/llama@{'abc'.ljust(40, '0')}"
    (judge,) = new("reward", "hf/org/llama@abc", "reward_model").panel.judges
    assert (judge.model, judge.revision) == ("hf/org/llama", "abc".ljust(40, "0"))


@pytest.mark.usefixtures("hub")
def test_a_model_of_which_nobody_tells_the_commit_is_flagged(leaderboard, tmp_path):
    prompts = write_rows(tmp_path / "base.jsonl", PROMPTS)
    run = leaderboard(
        "board", "new", "mine", "--prompts", prompts, "--reference", prompts,
        "--judge", "pairwise/hf/org/gone@main", "--results", tmp_path / "results",
    )  # fmt: skip
    assert run.code == 0, run.err
    assert "not bound to one version of its model: " in run.err
    assert "pairwise/hf/org/gone@main (hf/org/gone@main)" in run.err


def test_an_adapter_on_a_model_of_the_hub_is_bound_with_it(hub, new, judge_it, tmp_path):
    adapter = make_lora_adapter(tmp_path / "one", hub, seed=1)
    edit_json(adapter / "adapter_config.json", base_model_name_or_path="org/llama")
    beside, alone = new("beside", "hf/org/llama", adapter=adapter), new("alone", adapter)
    assert digests(beside) == digests(alone)
    assert judge_it("beside").code == NO_VERDICTS
    shutil.rmtree(adapter)
    make_lora_adapter(adapter, hub, seed=2)
    for name in ("beside", "alone"):
        shutil.rmtree(tmp_path / "results" / name / "a", ignore_errors=True)
        refused(judge_it(name), f"is another model than board {name} was made with")


# ---------------------------------------------------------------------------- names that float
@pytest.mark.parametrize(
    ("model", "floats"),
    [("openai/gpt-4o", True), ("openai/gpt-4.1-2025-04-14", False), ("openai/gpt-99", True),
     ("anthropic/claude-99-latest", True), ("openai-api/mine@http://127.0.0.1:1/v1", False)],
)  # fmt: skip
def test_a_name_that_floats_is_told_when_the_board_is_made(model, floats, leaderboard, tmp_path):
    prompts = write_rows(tmp_path / "base.jsonl", PROMPTS)
    run = leaderboard(
        "board", "new", "mine", "--prompts", prompts, "--reference", prompts,
        "--judge", f"pairwise/{model}", "--results", tmp_path / "results",
    )  # fmt: skip
    assert run.code == 0, run.err
    assert (
        f"not bound to one version of its model: pairwise/{model} ({model})" in run.err
    ) is floats


# ------------------------------------------------------------------- panels that are no board's
@pytest.mark.parametrize("command", ["annotate", "compare"])
def test_a_panel_file_is_bound_to_its_weights_too(command, new, llama_copy, tmp_path, leaderboard):
    board = new("mine", llama_copy)
    rows = [{"instruction": "Name a bird.", "output_1": "A crane.", "output_2": "A heron."}]
    pairs = write_rows(tmp_path / "pairs.jsonl", rows)
    one = write_rows(tmp_path / "one.jsonl", [{**PROMPTS[0], "output": "A crane."}])
    flags = {
        "annotate": ("annotate", pairs, "--out", tmp_path / "prefs.jsonl"),
        "compare": ("compare", one, tmp_path / "base.jsonl"),
    }[command]
    panel = ("--panel", board.path / "panel.toml")
    edit_json(llama_copy / "config.json", rms_norm_eps=0.5)
    refused(leaderboard(*flags, *panel), "is another model than the panel names")
