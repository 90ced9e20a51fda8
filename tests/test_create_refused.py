"""`board new` with something wrong: what and where is told, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import files_of, refused, write_rows

from judges.backends.fake import FakeLLM

TEXTS = ["Name a colour.", "Count to three,\nslowly.", "Grüße „Ada“ und 🐄!"]


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
def test_wrong_prompts_are_told_with_their_line(what, new_board, tmp_path):
    rows, complaint = BAD_PROMPTS[what]
    path = write_rows(tmp_path / "prompts.jsonl", rows)
    nothing_made(new_board("--prompts", path), tmp_path, complaint, str(path))


def nothing_made(run: Any, tmp_path: Path, *parts: str) -> None:
    refused(run, *parts)
    assert not (tmp_path / "results").exists(), "something is left behind"


BAD_FLAGS: dict[str, tuple[tuple[str, ...], str]] = {
    "an unknown key": (("--generation", "heat=1"), "known: max_tokens, temperature, top_p"),
    "a key without a value": (("--generation", "top_p"), "write key=value"),
    "a temperature that is a text": (("--generation", "temperature=hot"), "'hot' is no number"),
    "a negative temperature": (("--generation", "temperature=-1"), "generation: temperature"),
    "unknown prompt column": (("--prompt-column", "ask"), "no column 'ask'; the columns are"),
    "unknown category column": (("--category-column", "x"), "no column 'x'; there are prompt"),
    "unknown judge": (("--judge", "oracle"), "unknown judge 'oracle'; known kinds: checklist"),
    "unknown rule": (("--judge", "heuristic/best"), "must be one of longest, shortest, random"),
    "a judge twice": (("--judge", "heuristic/random") * 2, "two judges of the panel have one name"),
    "a judge and a panel": (("--judge", "heuristic/random", "--panel", "offline"), "not both"),
    "unknown panel": (("--panel", "nobody"), "no panel 'nobody'; packaged: farm, local, offline"),
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
def test_wrong_flags_are_told(what, new_board, tmp_path):
    flags, complaint = BAD_FLAGS[what]
    prompts = write_rows(tmp_path / "prompts.jsonl", GOOD)
    nothing_made(new_board("--prompts", prompts, *flags), tmp_path, complaint)


def test_unknown_orders_are_refused_by_the_parser_of_flags(new_board, tmp_path):
    prompts = write_rows(tmp_path / "prompts.jsonl", GOOD)
    refused(new_board("--prompts", prompts, "--orders", "sideways"), "'sideways'")
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
    prompts = write_rows(tmp_path / "prompts.jsonl", GOOD)
    flags = [prompts if flag == "PROMPTS" else flag for flag in flags]
    run = leaderboard("board", "new", "mine", *flags, "--results", results)
    refused(run, complaint)
    assert [path.name for path in results.iterdir()] == ["toy"]


def test_a_reference_must_answer_everything(new_board, tmp_path):
    prompts = write_rows(tmp_path / "prompts.jsonl", GOOD)
    rows = [{"instruction": text, "output": "x"} for text in TEXTS[:2]]
    answers = write_rows(tmp_path / "half.json", rows)
    run = new_board("--prompts", prompts, "--reference", answers)
    nothing_made(run, tmp_path, "1 of 3 instructions have no answer", str(answers))


def test_nothing_is_asked_of_a_model_before_the_panel_fits(new_board, tmp_path, monkeypatch):
    def asked(*args: object) -> object:
        raise AssertionError("a model was asked for answers that are thrown away")

    monkeypatch.setattr(FakeLLM, "complete_batch", asked)
    prompts = write_rows(tmp_path / "prompts.jsonl", GOOD)
    verdicts = write_rows(tmp_path / "broken.jsonl", [{"instruction_id": "0001"}])
    for judge, complaint in (("checklist", "it has no checks"),
                             (f"recorded/{verdicts}", "broken.jsonl, line 1")):  # fmt: skip
        nothing_made(new_board("--prompts", prompts, "--judge", judge), tmp_path, complaint)


def test_two_recorded_files_of_one_name_are_refused(new_board, tmp_path):
    record = {"instruction_id": "0001", "generator_1": "a", "generator_2": "b", "preference": 1}
    tables = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        path = write_rows(tmp_path / folder / "people.jsonl", [record])
        tables.append(f'[[judges]]\nkind = "recorded"\nname = "{folder}"\npath = "{path}"\n')
    panel = tmp_path / "panel.toml"
    panel.write_text("".join(tables), encoding="utf-8")
    prompts = write_rows(tmp_path / "prompts.jsonl", GOOD)
    run = new_board("--prompts", prompts, "--panel", panel)
    nothing_made(run, tmp_path, "two files of recorded verdicts are called people.jsonl")


def test_an_interrupted_reference_goes_on_where_it_stopped(new_board, tmp_path, monkeypatch):
    asked: list[str] = []
    answer = FakeLLM.complete_batch

    def interrupted(self: FakeLLM, requests: Any) -> Any:
        if asked:
            raise KeyboardInterrupt
        asked.extend(request.id for request in requests)
        return answer(self, requests)

    monkeypatch.setattr(FakeLLM, "complete_batch", interrupted)
    args = ("--prompts", write_rows(tmp_path / "prompts.jsonl", GOOD))
    first = FakeLLM.__init__

    def one_at_a_time(self: FakeLLM, name: str) -> None:
        first(self, name)
        self.batch_size = 1

    monkeypatch.setattr(FakeLLM, "__init__", one_at_a_time)
    assert new_board(*args).code == 130
    assert not (tmp_path / "results" / "mine").exists()
    again: list[str] = []

    def recorded(self: FakeLLM, requests: Any) -> Any:
        again.extend(request.id for request in requests)
        return answer(self, requests)

    monkeypatch.setattr(FakeLLM, "complete_batch", recorded)
    assert new_board(*args).code == 0
    assert len(asked) == 1
    assert len(again) == len(GOOD) - 1
    assert not set(asked) & set(again)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["mine"]


def test_a_board_that_is_there_is_kept(results, leaderboard):
    before = files_of(results)
    run = leaderboard("board", "new", "toy", "--from", "toy", "--results", results)
    refused(run, "there already; choose another name")
    assert files_of(results) == before
