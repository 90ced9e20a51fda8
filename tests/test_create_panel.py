"""`board new` with judges that ask models: every key written out, prompts and files copied."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import make_board, refused, write_rows

from judges.errors import UserError
from leaderboard.boards.board import load_board

PROMPTS = [{"prompt": f"Say word{n}."} for n in range(4)]
STRICT = 'user = "Which is better?\\n{conversation}\\n{first}\\n{second}\\n{form}"\n'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HERDBOOK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def new(new_board, tmp_path):
    prompts = write_rows(tmp_path / "prompts.jsonl", PROMPTS)
    return lambda *flags: new_board("--prompts", prompts, *flags)


def tables(tmp_path: Path) -> list[dict[str, Any]]:
    text = (tmp_path / "results" / "mine" / "panel.toml").read_text(encoding="utf-8")
    judges: list[dict[str, Any]] = tomllib.loads(text)["judges"]
    return judges


def test_a_packaged_panel_is_copied_whole_with_its_prompts(new, tmp_path):
    run = new("--panel", "farm", "--judge-model", "fake/judge", "--orders", "random")
    assert run.code == 0, run.err
    board = load_board("mine", tmp_path / "results")
    assert board.panel.assign == "one"
    written = tables(tmp_path)
    assert len(written) == 13
    for table in written:
        assert table["prompt"].startswith("prompts/pairwise")
        assert (board.path / table["prompt"]).is_file()
        assert {"reasoning", "ties", "form", "temperature", "persona", "show_gold"} <= set(table)
    prompts = {path.name for path in (board.path / "prompts").iterdir()}
    assert prompts == {Path(table["prompt"]).name for table in written}
    text = (board.path / "panel.toml").read_text(encoding="utf-8")
    assert "temperature = 1.0  # delete this line where the server refuses it" in text


def test_a_board_is_its_own_whatever_becomes_of_the_packaged_prompts(new, tmp_path):
    assert new("--judge", "pairwise/fake/judge").code == 0
    board = load_board("mine", tmp_path / "results")
    (table,) = tables(tmp_path)
    assert table["temperature"] == 0.0
    assert table["name"] == "pairwise/fake/judge"
    path = board.path / table["prompt"]
    path.write_text(path.read_text().replace("two answers", "2 answers"), encoding="utf-8")
    with pytest.raises(UserError, match=r"has been changed since it was made: panel\.toml"):
        load_board("mine", tmp_path / "results")
    path.unlink()
    with pytest.raises(UserError, match="no such file"):
        load_board("mine", tmp_path / "results")


def test_a_judge_file_and_its_prompt_come_along_from_anywhere(new, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "pairwise.toml").write_text(STRICT)  # called as a packaged one is
    (folder / "judge.toml").write_text(
        'kind = "pairwise"\nmodel = "{judge}"\nprompt = "pairwise.toml"\n[extra]\ntop_k = 5\n'
    )
    flags = ("--judge", folder / "judge.toml", "--judge", "pairwise/fake/judge")
    refused(new(*flags), "the panel leaves its models open: judge")
    run = new(*flags, "--judge-model", "openai-api/m@http://127.0.0.1:1/v1")
    assert run.code == 0, run.err
    shutil.rmtree(folder)
    board = load_board("mine", tmp_path / "results")
    one, two = tables(tmp_path)
    assert (one["name"], one["base_url"]) == ("judge", "http://127.0.0.1:1/v1")
    assert one["extra"] == {"top_k": 5}
    assert one["prompt"] != two["prompt"]
    assert (board.path / one["prompt"]).read_text() == STRICT
    assert str(tmp_path) not in (board.path / "panel.toml").read_text()


def test_a_board_taken_over_has_the_same_panel(new, tmp_path, leaderboard):
    assert new("--panel", "local", "--judge-model", "fake/judge").code == 0
    run = leaderboard("board", "new", "again", "--from", "mine", "--results", tmp_path / "results")
    assert run.code == 0, run.err
    again, mine = (load_board(name, tmp_path / "results") for name in ("again", "mine"))
    assert again.hashes["panel"] == mine.hashes["panel"]
    run = leaderboard(
        "board", "new", "third", "--from", "mine", "--judge-model", "fake/echo",
        "--results", tmp_path / "results",
    )  # fmt: skip
    refused(run, "--judge-model fake/echo: the panel leaves no model open")


def test_where_and_with_which_key_a_judge_is_asked_is_not_pinned(new, tmp_path):
    assert new("--judge", "pairwise/openai-api/m@http://127.0.0.1:1/v1").code == 0
    file = tmp_path / "results" / "mine" / "panel.toml"
    text = file.read_text().replace("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1")
    file.write_text(text + 'api_key_env = "MY_KEY"\n')
    (judge,) = load_board("mine", tmp_path / "results").panel.judges
    assert (judge.base_url, judge.api_key_env) == ("http://127.0.0.1:2/v1", "MY_KEY")
    file.write_text(text.replace("openai-api/m", "openai-api/other"))
    with pytest.raises(UserError, match=r"has been changed since it was made: panel\.toml"):
        load_board("mine", tmp_path / "results")


def test_a_judge_in_this_process_is_bound_to_its_weights(new, tmp_path, tiny_llama):
    run = new("--judge", f"pairwise/{tiny_llama}", "--judge", "pairwise_logprob/fake/judge")
    assert run.code == 0, run.err
    local, fake = tables(tmp_path)
    assert local["weights"].startswith("sha256:")
    assert local["name"] == "pairwise/org/llama"
    assert "weights" not in fake
    file = tmp_path / "results" / "mine" / "panel.toml"
    file.write_text(file.read_text().replace(str(tiny_llama), "elsewhere/llama"))
    load_board("mine", tmp_path / "results")  # the folder may move


@pytest.mark.parametrize("judge", ["pairwise/gpt-5", "pairwise/./gone", "reward_model/org/gone"])
def test_a_model_that_is_nowhere_is_refused_with_how_models_are_written(new, tmp_path, judge):
    refused(new("--judge", judge), "there is no folder", "openai/NAME")
    assert not (tmp_path / "results" / "mine").exists()


def test_a_judge_file_can_stand_for_a_panel(new, tmp_path):
    file = tmp_path / "strict.toml"
    file.write_text('schema_version = 1\nkind = "pairwise"\nmodel = "{judge}"\n')
    assert new("--panel", file, "--judge-model", "fake/judge").code == 0
    (table,) = tables(tmp_path)
    assert table["name"] == "strict"
    text = (tmp_path / "results" / "mine" / "panel.toml").read_text(encoding="utf-8")
    assert 'aggregate = "mean"\nassign = "all"\n' in text


def test_many_judges_are_counted_and_few_are_named(new, leaderboard, tmp_path):
    run = new("--panel", "farm", "--judge-model", "fake/judge")
    assert run.out.endswith("judged by a panel of 13, one of them an item\n")
    listed = leaderboard("board", "list", "--results", tmp_path / "results").out
    assert "a panel of 13, one of them an item" in listed


def test_the_rule_for_self_judging_is_a_flag(new, tmp_path):
    assert new("--judge", "pairwise/fake/judge", "--self-judging", "exclude").code == 0
    assert load_board("mine", tmp_path / "results").settings.self_judging == "exclude"


@pytest.mark.parametrize(
    "path", ["../strict.toml", "/etc/strict.toml", "prompts/../../strict.toml"]
)
def test_a_board_reads_no_prompt_outside_its_folder(tmp_path, path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "strict.toml").write_text(STRICT)
    panel = {"judges": [{"kind": "pairwise", "model": "fake/judge", "prompt": path}]}
    with pytest.raises(UserError, match=r"the prompt .* must lead to a file in the board's folder"):
        make_board(tmp_path / "results" / "toy", panel=panel)


CONFIG = """mine:
  prompt_template: "{template}"
  fn_completions: "openai_completions"
  completions_kwargs:
    model_name: "gpt-4.1-2025-04-14"
    max_tokens: 50
  fn_completion_parser: "regex_parser"
  completion_parser_kwargs:
    outputs_to_match: {{1: "Output \\\\(a\\\\)", 2: "Output \\\\(b\\\\)"}}
"""
TEMPLATE = "<|im_start|>user\n{instruction}\n{output_1}\n{output_2}\n<|im_end|>"


def test_an_evaluator_config_is_copied_with_its_template(new, tmp_path):
    folder = tmp_path / "configs" / "mine"
    folder.mkdir(parents=True)
    (folder / "prompt.txt").write_text(TEMPLATE)
    (folder / "configs.yaml").write_text(CONFIG.format(template="mine/prompt.txt"))
    run = new("--judge", f"alpaca_eval/{folder}")
    assert run.code == 0, run.err
    shutil.rmtree(tmp_path / "configs")
    board = load_board("mine", tmp_path / "results")
    (table,) = tables(tmp_path)
    assert table["path"].startswith("evaluators/mine/")
    assert board.panel.names == ["mine"]
    prompt = next(board.path.glob("evaluators/mine/**/prompt.txt"))
    prompt.write_text(TEMPLATE.replace("user", "system"))
    with pytest.raises(UserError, match=r"has been changed since it was made: panel\.toml"):
        load_board("mine", tmp_path / "results")


def test_an_evaluator_config_on_a_board_names_no_template_outside_it(new, tmp_path):
    folder = tmp_path / "configs" / "mine"
    folder.mkdir(parents=True)
    (folder / "prompt.txt").write_text(TEMPLATE)
    (folder / "configs.yaml").write_text(CONFIG.format(template="mine/prompt.txt"))
    assert new("--judge", f"alpaca_eval/{folder}").code == 0
    board, other = tmp_path / "results" / "mine", tmp_path / "results" / "other"
    config = next(board.glob("evaluators/mine/**/configs.yaml"))
    config.write_text(CONFIG.format(template=str(folder / "prompt.txt")))
    with pytest.raises(UserError, match="must be a path inside"):
        load_board("mine", tmp_path / "results")
    # At the board's top its templates would be the neighbours' files.
    other.mkdir()
    (other / "prompt.txt").write_text(TEMPLATE)
    (board / "configs.yaml").write_text(CONFIG.format(template="other/prompt.txt"))
    panel = board / "panel.toml"
    (table,) = tables(tmp_path)
    panel.write_text(panel.read_text().replace(table["path"], "configs.yaml"))
    with pytest.raises(UserError, match=r"a file outside the board's folder|must be a path inside"):
        load_board("mine", tmp_path / "results")


# ------------------------------------------------------------------------------- what --panel takes
@pytest.mark.parametrize("spec", ["offline", "heuristic/longest", "own.toml"])
def test_a_panel_is_named_alike_in_every_command(spec, new, leaderboard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text('[[judges]]\nkind = "heuristic"\nrule = "shortest"\n')
    rows = [{"prompt": "Go.", "checks": [{"kind": "words", "max": 3}], "output_1": "a"}]
    pairs = write_rows(tmp_path / "pairs.jsonl", [{**rows[0], "output_2": "b b"}])
    checked = write_rows(tmp_path / "checked.jsonl", rows)
    expected = {"offline": "checklist", "own.toml": "heuristic/shortest"}.get(spec, spec)
    run = leaderboard("judges", "--panel", spec)
    assert run.code == 0, run.err
    assert expected in run.out
    run = leaderboard(
        "board", "new", "mine", "--prompts", checked, "--reference", "fake/echo",
        "--panel", spec, "--results", tmp_path / "results",
    )  # fmt: skip
    assert run.code == 0, run.err
    assert run.out.endswith(f"judged by {expected}\n")
    assert leaderboard("eval", "fake/words", "--board", "mine", "--results", "results").code == 0
    flags = ("--panel", spec, "--results", tmp_path / "results")
    assert leaderboard("rejudge", "mine", *flags).code in (0, 3)
    if spec != "offline":  # it reads criteria, which pairs have none of
        run = leaderboard("annotate", pairs, "--panel", spec, "--out", tmp_path / "p.jsonl")
        assert run.code == 0, run.err


@pytest.mark.parametrize("command", ["judges", "annotate", "board new"])
def test_no_such_panel_is_told_alike(command, leaderboard, tmp_path):
    make_board(tmp_path / "results" / "toy")
    pairs = write_rows(
        tmp_path / "pairs.jsonl", [{"prompt": "p", "output_1": "a", "output_2": "b"}]
    )
    at = ("--results", tmp_path / "results")
    flags = {
        "judges": ("judges",),
        "annotate": ("annotate", pairs, "--out", tmp_path / "out.jsonl"),
        "board new": ("board", "new", "mine", "--from", "toy", *at),
    }[command]
    refused(leaderboard(*flags, "--panel", "nobody"), "no panel 'nobody'; packaged: farm")
