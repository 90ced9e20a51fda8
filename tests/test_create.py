"""`board new`: a board from the files that people have; whatever is wrong leaves nothing behind."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import make_board

from judges.backends.fake import FakeLLM
from judges.heuristic import Heuristic
from leaderboard.boards import load_board
from leaderboard.create import PROMPT_COLUMNS

TEXTS = ["Name a colour.", "Count to three,\nslowly.", "Grüße „Ada“ und 🐄!"]
TURNS = [
    [{"role": "user", "content": "Hello"}],
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name a colour."},
        {"role": "assistant", "content": "Red."},
        {"role": "user", "content": "Another."},
    ],
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows in the format of the file's name; a CSV file holds lists as JSON text."""
    if path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            for row in rows:
                cells = {k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()}
                writer.writerow(cells)
    return path


@pytest.fixture
def new(tmp_path, leaderboard):
    """Runs `board new mine` with a reference and a judge unless others are given."""

    def run(*flags: str | Path) -> Any:
        given = [str(flag) for flag in flags]
        if "--reference" not in given:
            given += ["--reference", "fake/echo"]
        if "--judge" not in given and "--panel" not in given:
            given += ["--judge", "heuristic/longest"]
        return leaderboard("board", "new", "mine", *given, "--results", tmp_path / "results")

    return run


def mine(tmp_path: Path) -> Any:
    return load_board("mine", tmp_path / "results")


# -------------------------------------------------------------------------------------- prompts
@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("column", [name for name in PROMPT_COLUMNS if name != "messages"])
def test_prompts_of_every_format_and_column(suffix, column, new, tmp_path):
    rows = [{column: text, "extra": "is passed over"} for text in TEXTS]
    run = new("--prompts", write(tmp_path / f"prompts{suffix}", rows))
    assert run.code == 0, run.err
    assert "3 instructions, against echo, judged by heuristic/longest" in run.out
    instructions = mine(tmp_path).instructions
    assert [i.text for i in instructions] == TEXTS
    assert [[turn.role for turn in i.messages] for i in instructions] == [["user"]] * 3
    assert len({i.id for i in instructions}) == 3


@pytest.mark.parametrize("suffix", [".csv", ".json", ".jsonl", ".parquet"])
@pytest.mark.parametrize("column", ["messages", "prompt"])
def test_conversations_as_lists_and_as_json_text_in_csv(suffix, column, new, tmp_path):
    rows = [{column: turns} for turns in TURNS]
    run = new("--prompts", write(tmp_path / f"prompts{suffix}", rows))
    assert run.code == 0, run.err
    read = [
        [{"role": turn.role, "content": turn.content} for turn in i.messages]
        for i in mine(tmp_path).instructions
    ]
    assert read == TURNS


@pytest.mark.parametrize(
    "prompt", ['[{"a": 1}] as a table, please', '[{"a": 1}, {"a": 2}]', "[{", "[1, 2]", "[]"]
)
def test_a_prompt_that_only_looks_like_json_is_a_text(prompt, new, tmp_path):
    run = new("--prompts", write(tmp_path / "prompts.csv", [{"prompt": prompt}]))
    assert run.code == 0, run.err
    assert mine(tmp_path).instructions[0].text == prompt


def test_a_column_can_be_named(new, tmp_path):
    rows = [{"prompt": "not this one", "ask": text} for text in TEXTS]
    path = write(tmp_path / "prompts.jsonl", rows)
    assert new("--prompts", path, "--prompt-column", "ask").code == 0
    assert [i.text for i in mine(tmp_path).instructions] == TEXTS


@pytest.mark.parametrize("flags", [(), ("--category-column", "topic")])
def test_categories_ids_checks_and_gold_answers_are_read(flags, new, tmp_path):
    check = {"kind": "contains", "all": ["red"]}
    rows = [
        {"id": "x1", "prompt": "Red?", "category": "a", "topic": 0, "checks": [check],
         "gold_answer": "red"},
        {"id": "x2", "prompt": "Blue?", "category": "b", "topic": 1, "checks": [check],
         "gold_answer": "red"},
    ]  # fmt: skip
    for suffix in (".jsonl", ".csv"):
        path = write(tmp_path / f"prompts{suffix}", rows)
        name = f"board{suffix[1:]}"
        run = new("--prompts", path, "--judge", "checklist", *flags)
        assert run.code == 0, run.err
        board = mine(tmp_path)
        assert [i.id for i in board.instructions] == ["x1", "x2"]
        assert [i.category for i in board.instructions] == (["0", "1"] if flags else ["a", "b"])
        assert [i.checks for i in board.instructions] == [(check,)] * 2
        assert [i.gold_answer for i in board.instructions] == ["red"] * 2
        board.path.rename(board.path.with_name(name))


# ----------------------------------------------------------------------- references, judges, …
def test_references_are_files_and_models_and_are_frozen(new, tmp_path):
    prompts = write(tmp_path / "prompts.csv", [{"prompt": text} for text in TEXTS])
    rows = [{"instruction": text, "output": f"<think>hm</think>{k}", "generator": "org/Model-7B"}
            for k, text in enumerate(TEXTS)]  # fmt: skip
    answers = write(tmp_path / "answers.json", rows)
    run = new("--prompts", prompts, "--reference", answers, "--reference", "fake/echo")
    assert run.code == 0, run.err
    assert "against org__Model-7B and echo" in run.out
    answers.unlink()
    board = mine(tmp_path)
    assert board.settings.references == ("org__Model-7B", "echo")
    texts = {name: [o.text for o in outputs.values()] for name, outputs in board.references.items()}
    assert texts == {"org__Model-7B": ["0", "1", "2"], "echo": TEXTS}
    assert {o.generator for o in board.references["echo"].values()} == {"echo"}


def test_a_row_is_compared_with_every_reference(new, tmp_path, leaderboard):
    prompts = write(tmp_path / "prompts.csv", [{"prompt": text} for text in TEXTS])
    new("--prompts", prompts, "--reference", "fake/constant", "--reference", "fake/echo")
    run = leaderboard("eval", "fake/words", "--board", "mine", "--results", tmp_path / "results")
    assert run.code == 0, run.err
    lines = (tmp_path / "results/mine/words/annotations.jsonl").read_text("utf-8").splitlines()
    compared = [json.loads(line)["comparison_id"].split(":")[0] for line in lines]
    assert sorted(compared) == ["constant"] * 3 + ["echo"] * 3


def test_judges_are_repeatable_and_orders_are_pinned(new, tmp_path):
    prompts = write(tmp_path / "prompts.csv", [{"prompt": text} for text in TEXTS])
    run = new("--prompts", prompts, "--judge", "heuristic/longest", "--judge", "heuristic/random",
              "--orders", "random")  # fmt: skip
    assert run.code == 0, run.err
    board = mine(tmp_path)
    assert board.panel.names == ["heuristic/longest", "heuristic/random"]
    assert board.settings.orders == "random"


def test_both_orders_are_the_default(new, tmp_path):
    new("--prompts", write(tmp_path / "prompts.csv", [{"prompt": "Hm?"}]))
    assert mine(tmp_path).settings.orders == "both"


def test_a_panel_by_name_and_by_file(new, tmp_path):
    rows = [{"prompt": "Red?", "checks": [{"kind": "contains", "all": ["red"]}]}]
    prompts = write(tmp_path / "prompts.jsonl", rows)
    run = new("--prompts", prompts, "--panel", "offline")
    assert run.code == 0, run.err
    assert "checklist" in mine(tmp_path).panel.names
    mine(tmp_path).path.rename(tmp_path / "results" / "by-name")
    panel = tmp_path / "panel.toml"
    panel.write_text(
        'aggregate = "median"\n[[judges]]\nkind = "heuristic"\nrule = "shortest"\nname = "s"\n',
        encoding="utf-8",
    )
    run = new("--prompts", prompts, "--panel", panel)
    assert run.code == 0, run.err
    panel.unlink()
    made = mine(tmp_path).panel
    assert made.judges == (Heuristic(name="s", rule="shortest"),)
    assert made.aggregate == "median"


def test_recorded_verdicts_come_along(new, tmp_path, leaderboard):
    verdicts = write(
        tmp_path / "people.jsonl",
        [{"instruction_id": "0001", "generator_1": "echo", "generator_2": "words",
          "preference": 0.8}],
    )  # fmt: skip
    prompts = write(tmp_path / "prompts.csv", [{"prompt": "Hm?"}])
    run = new("--prompts", prompts, "--judge", f"recorded/{verdicts}")
    assert run.code == 0, run.err
    verdicts.unlink()
    board = mine(tmp_path)
    assert board.panel.names == ["recorded/people"]
    assert (board.path / "verdicts" / "people.jsonl").is_file()
    run = leaderboard("eval", "fake/words", "--board", "mine", "--results", tmp_path / "results")
    assert run.code == 0, run.err
    summary = json.loads((board.path / "words" / "summary.json").read_text("utf-8"))
    assert summary["win_rate"]["value"] == pytest.approx(0.8)


# -------------------------------------------------------------------------------- --from, private
def test_from_takes_over_what_is_not_said(results, leaderboard):
    run = leaderboard("board", "new", "mine", "--from", "toy", "--results", results)
    assert run.code == 0, run.err
    old, made = load_board("toy", results), load_board("mine", results)
    assert made.hashes == old.hashes
    assert made.instructions == old.instructions
    assert made.title == "mine"


def test_from_with_another_judge_or_reference_keeps_the_rest(results, leaderboard):
    run = leaderboard(
        "board", "new", "mine", "--from", "toy", "--judge", "heuristic/shortest",
        "--reference", "fake/constant", "--orders", "fixed", "--results", results,
    )  # fmt: skip
    assert run.code == 0, run.err
    old, made = load_board("toy", results), load_board("mine", results)
    assert made.instructions == old.instructions
    assert made.settings.generation == old.settings.generation
    assert made.settings.references == ("constant",)
    assert made.panel.names == ["heuristic/shortest"]
    assert made.settings.orders == "fixed"


def test_a_live_board_of_starter_does_not_claim_to_be_programmatic(tmp_path, leaderboard):
    flags = ("--from", "starter", "--results", tmp_path)
    assert leaderboard("board", "new", "same", *flags).code == 0
    assert leaderboard("board", "new", "live", *flags, "--judge", "heuristic/random").code == 0
    assert "programmatic" in load_board("same", tmp_path).settings.note
    assert load_board("live", tmp_path).settings.note == ""


def test_published_rows_stay_with_their_own_prompts_and_references(results, leaderboard):
    (results / "toy" / "published.csv").write_text("name\nsomeone\n", encoding="utf-8")
    for name, flags in (("live", ("--judge", "heuristic/random")),
                        ("other", ("--reference", "fake/echo"))):  # fmt: skip
        run = leaderboard("board", "new", name, "--from", "toy", *flags, "--results", results)
        assert run.code == 0, run.err
    assert (results / "live" / "published.csv").is_file()
    assert not (results / "other" / "published.csv").exists()


@pytest.mark.parametrize("flags", [("--from", "toy"), ("--prompts",)])
def test_private_marks_every_instruction(flags, results, leaderboard, tmp_path):
    if flags == ("--prompts",):
        prompts = write(tmp_path / "prompts.csv", [{"prompt": text} for text in TEXTS])
        flags = ("--prompts", prompts, "--reference", "fake/echo", "--judge", "heuristic/longest")
    run = leaderboard("board", "new", "mine", *flags, "--private", "--results", results)
    assert run.code == 0, run.err
    lines = (results / "mine" / "evalset.jsonl").read_text("utf-8").splitlines()
    assert {json.loads(line)["visibility"] for line in lines} == {"private"}


# ----------------------------------------------------------------------------------- what is wrong
GOOD = [{"prompt": text, "category": "c"} for text in TEXTS]
BAD_PROMPTS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "no prompt column": ([{"ask": "x"}], "none of messages, instruction, prompt, query, question"),
    "an empty prompt": ([*GOOD, {"prompt": " \n"}], "line 4: the prompt is empty"),
    "a null prompt": ([*GOOD, {"prompt": None}], "line 4: the prompt is empty"),
    "a row without one": ([*GOOD, {"category": "c"}], "line 4: the prompt is empty"),
    "a prompt that is a number": ([{"prompt": 3}], "line 1: prompt must be a text or a list"),
    "messages that are text": ([{"messages": "Hi"}], "line 1: messages must be a list of turns"),
    "no turns": ([{"messages": []}], "line 1: the prompt is empty"),
    "an empty turn": ([{"messages": [{"role": "user", "content": " "}]}], "instruction is empty"),
    "a turn without a role": ([{"messages": [{"content": "x"}]}], "line 1: messages.0.role"),
    "an unknown role": ([{"messages": [{"role": "me", "content": "x"}]}], "messages.0.role"),
    "an answer at the end": ([{"messages": [{"role": "user", "content": "x"}, {"role": "assistant",
                              "content": "y"}]}], "must end with a user turn"),
    "a doubled prompt": ([*GOOD, GOOD[1]], "line 4: this prompt stands at"),
    "a doubled id": ([{"id": 1, "prompt": "a"}, {"id": "1", "prompt": "b"}], "the id '1'"),
    "an id with a tab": ([{"id": "a\tb", "prompt": "a"}], "must be printable"),
    "a category with an escape": ([{"prompt": "a", "category": "\x1b[2J"}], "must be printable"),
    "an unknown check": ([{"prompt": "a", "checks": [{"kind": "nope"}]}], "nope"),
    "checks that are no list": ([{"prompt": "a", "checks": "{"}], "not valid JSON in a cell"),
    "half a character": ([{"prompt": "a\ud83d"}], "line 1: half of a surrogate pair"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_PROMPTS)
def test_wrong_prompts_are_told_with_their_line(what, new, tmp_path):
    rows, complaint = BAD_PROMPTS[what]
    path = write(tmp_path / "prompts.jsonl", rows)
    check_refused(new("--prompts", path), complaint, str(path), tmp_path)


def check_refused(run: Any, complaint: str, place: str, tmp_path: Path) -> None:
    assert run.code == 2
    assert complaint in run.err
    assert place in run.err
    assert "Traceback" not in run.err
    assert not (tmp_path / "results").exists(), "something is left behind"


BAD_FLAGS: dict[str, tuple[tuple[str, ...], str]] = {
    "unknown prompt column": (("--prompt-column", "ask"), "no column 'ask'; the columns are"),
    "unknown category column": (("--category-column", "x"), "no column 'x'; there are prompt"),
    "unknown judge": (("--judge", "oracle"), "unknown judge 'oracle'; known kinds: checklist"),
    "unknown rule": (("--judge", "heuristic/best"), "must be one of longest, shortest, random"),
    "a judge twice": (("--judge", "heuristic/random") * 2, "two judges of the panel have one name"),
    "a judge and a panel": (("--judge", "heuristic/random", "--panel", "offline"), "not both"),
    "unknown panel": (("--panel", "nobody"), "no panel 'nobody'; packaged: offline"),
    "a panel that cannot judge": (("--judge", "checklist"), "cannot judge 3 of 3 instructions"),
    "no file of verdicts": (("--judge", "recorded/none.jsonl"), "none.jsonl: the file of recorded"),
    "unknown reference": (("--reference", "nothing"), "model 'nothing': no such file or folder"),
    "unknown fake": (("--reference", "fake/nothing"), "unknown model 'fake/nothing'"),
    "no reference file": (("--reference", "none.csv"), "none.csv: no such file"),
    "a reference twice": (("--reference", "fake/echo") * 2, "two references are called 'echo'"),
    "unknown model argument": (("--model-args", "speed=9"), "--model-args 'speed=9'"),
    "unknown source": (("--from", "nowhere"), "there is no board 'nowhere'"),
}


@pytest.mark.parametrize("what", BAD_FLAGS)
def test_wrong_flags_are_told(what, new, tmp_path):
    flags, complaint = BAD_FLAGS[what]
    prompts = write(tmp_path / "prompts.jsonl", GOOD)
    check_refused(new("--prompts", prompts, *flags), complaint, "", tmp_path)


def test_unknown_orders_are_refused_by_the_parser_of_flags(new, tmp_path):
    prompts = write(tmp_path / "prompts.jsonl", GOOD)
    with pytest.raises(SystemExit) as stopped:
        new("--prompts", prompts, "--orders", "sideways")
    assert stopped.value.code == 2
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ((), "say what to ask"),
        (("--prompts", "PROMPTS"), "say who judges"),
        (("--prompts", "PROMPTS", "--judge", "heuristic/random"), "say what to compare with"),
        (("--prompts", "missing.csv"), "missing.csv: no such file"),
        (("--from", "toy", "--prompt-column", "x"), "go with --prompts"),
    ],
)
def test_what_is_missing_is_asked_for(flags, complaint, results, leaderboard, tmp_path):
    prompts = write(tmp_path / "prompts.jsonl", GOOD)
    flags = [prompts if flag == "PROMPTS" else flag for flag in flags]
    run = leaderboard("board", "new", "mine", *flags, "--results", results)
    assert run.code == 2
    assert complaint in run.err
    assert [path.name for path in results.iterdir()] == ["toy"]


def test_a_reference_must_answer_everything(new, tmp_path):
    prompts = write(tmp_path / "prompts.jsonl", GOOD)
    rows = [{"instruction": text, "output": "x"} for text in TEXTS[:2]]
    answers = write(tmp_path / "half.json", rows)
    run = new("--prompts", prompts, "--reference", answers)
    check_refused(run, "1 of 3 instructions have no answer", str(answers), tmp_path)


def test_nothing_is_asked_of_a_model_before_the_panel_fits(new, tmp_path, monkeypatch):
    def asked(*args: object) -> object:
        raise AssertionError("a model was asked for answers that are thrown away")

    monkeypatch.setattr(FakeLLM, "complete_batch", asked)
    prompts = write(tmp_path / "prompts.jsonl", GOOD)
    verdicts = write(tmp_path / "broken.jsonl", [{"instruction_id": "0001"}])
    for judge, complaint in (("checklist", "it has no checks"),
                             (f"recorded/{verdicts}", "broken.jsonl, line 1")):  # fmt: skip
        check_refused(new("--prompts", prompts, "--judge", judge), complaint, "", tmp_path)


def test_two_recorded_files_of_one_name_are_refused(new, tmp_path):
    record = {"instruction_id": "0001", "generator_1": "a", "generator_2": "b", "preference": 1}
    tables = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        path = write(tmp_path / folder / "people.jsonl", [record])
        tables.append(f'[[judges]]\nkind = "recorded"\nname = "{folder}"\npath = "{path}"\n')
    panel = tmp_path / "panel.toml"
    panel.write_text("".join(tables), encoding="utf-8")
    prompts = write(tmp_path / "prompts.jsonl", GOOD)
    run = new("--prompts", prompts, "--panel", panel)
    check_refused(run, "two files of recorded verdicts are called people.jsonl", "", tmp_path)


def test_an_interrupted_reference_goes_on_where_it_stopped(new, tmp_path, monkeypatch):
    asked: list[str] = []
    answer = FakeLLM.complete_batch

    def interrupted(self: FakeLLM, requests: Any) -> Any:
        if asked:
            raise KeyboardInterrupt
        asked.extend(request.id for request in requests)
        return answer(self, requests)

    monkeypatch.setattr(FakeLLM, "complete_batch", interrupted)
    args = ("--prompts", write(tmp_path / "prompts.jsonl", GOOD))
    first = FakeLLM.__init__

    def one_at_a_time(self: FakeLLM, name: str) -> None:
        first(self, name)
        self.batch_size = 1

    monkeypatch.setattr(FakeLLM, "__init__", one_at_a_time)
    assert new(*args).code == 130
    assert not (tmp_path / "results" / "mine").exists()
    again: list[str] = []

    def recorded(self: FakeLLM, requests: Any) -> Any:
        again.extend(request.id for request in requests)
        return answer(self, requests)

    monkeypatch.setattr(FakeLLM, "complete_batch", recorded)
    assert new(*args).code == 0
    assert len(asked) == 1
    assert len(again) == len(GOOD) - 1
    assert not set(asked) & set(again)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["mine"]


def test_a_board_that_is_there_is_kept(results, leaderboard):
    before = (results / "toy" / "board.toml").read_bytes()
    run = leaderboard("board", "new", "toy", "--from", "toy", "--results", results)
    assert run.code == 2
    assert "there already; choose another name" in run.err
    assert (results / "toy" / "board.toml").read_bytes() == before


def test_an_edited_source_is_welcome(results, leaderboard):
    path = results / "toy" / "panel.toml"
    text = path.read_text("utf-8").replace('"checklist"', '"checklist", tie_band = 0.2', 1)
    path.write_text(text, encoding="utf-8")
    run = leaderboard("board", "new", "mine", "--from", "toy", "--results", results)
    assert run.code == 0, run.err
    assert load_board("mine", results).panel.identity()["judges"]["checklist"]["tie_band"] == 0.2


def test_a_board_of_everything_starter_has_is_starter(tmp_path, leaderboard):
    make_board(tmp_path / "toy", 3)
    leaderboard("board", "new", "mine", "--from", "starter", "--results", tmp_path)
    mine, starter = load_board("mine", tmp_path), load_board("starter", tmp_path)
    assert mine.hashes == starter.hashes
