"""Samples of a policy: the rows are carried over, killed runs go on, what reads the files reads them."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pyarrow
import pytest
from conftest import edit_json, files_of, read_json, read_lines, write_rows
from preferring import liking_yes, loaded, prompts, undecided
from pyarrow import parquet
from test_documented_files import documented
from training import ASKED, in_processes, killed_after

from judges.schema import Message
from leaderboard.preferences import read_pairs
from train_baselines import best_of_n, generate
from train_baselines.data.sources import read_candidates
from train_baselines.sampling import selecting
from train_baselines.sampling.sampler import Draw, Sampling, sample

SHORT = ("--max-new-tokens", "8")


@pytest.fixture(scope="module")
def models(tiny_llama, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    policy = undecided(tiny_llama, folder)
    return policy, liking_yes(policy, folder)


def draw(policy: Path, data: Path, output: Path, *flags: object) -> int:
    asked = ["--model-name-or-path", policy, "--dataset", data, "--output", output, *SHORT, *flags]
    return generate.main([str(one) for one in asked])


def rows(n: int = 6) -> list[dict[str, object]]:
    """Prompts with all that a board's or a farm's file has beside them."""
    return [
        {
            "id": f"p{k}",
            "prompt": text,
            "category": "words",
            "checks": [{"kind": "contains", "all": ["yes"]}],
            "gold_answer": "yes",
        }
        for k, text in enumerate(ASKED[:n])
    ]


def test_a_row_is_carried_over_to_each_of_its_samples(models, tmp_path, capsys):
    data, output = write_rows(tmp_path / "p.jsonl", rows()), tmp_path / "s.jsonl"
    assert draw(models[0], data, output, "--n", 4) == 0
    assert "s.jsonl: 24 samples, " in capsys.readouterr().out
    found = read_lines(output)
    assert [one["k"] for one in found] == [0, 1, 2, 3] * 6
    for n, one in enumerate(found):
        added = {"output", "finish_reason", "k"}
        assert {k: v for k, v in one.items() if k not in added} == rows()[n // 4]
        assert one["finish_reason"] == "stop" or len(one["output"]) > 2
    assert len({one["output"] for one in found}) > 1
    run = read_json(tmp_path / "s.run" / "train_config.json")
    assert (run["method"], run["finished"]) == ("generate", True)
    assert run["facts"]["samples"] == 24
    assert set(files_of(tmp_path / "s.run")) == {"train_config.json"}


def test_the_samples_are_those_that_best_of_n_chooses_from(models, tmp_path):
    policy, reward = models
    data, asked = prompts(tmp_path / "p.jsonl"), ["--model-name-or-path", policy]
    assert draw(policy, data, tmp_path / "s.jsonl", "--n", 5, "--reward-model", reward) == 0
    asked += ["--reward-model", reward, "--dataset", data, "--output", tmp_path / "a.jsonl"]
    assert best_of_n.main([str(one) for one in (*asked, *SHORT, "--n", 5)]) == 0
    drawn, answers = read_lines(tmp_path / "s.jsonl"), read_lines(tmp_path / "a.jsonl")
    assert list(drawn[0]) == ["id", "prompt", *documented("What generate writes")]
    for n, answer in enumerate(answers):
        best = max(drawn[5 * n : 5 * n + 5], key=lambda one: one["score"])
        assert best["id"] == answer["instruction_id"]
        assert (best["output"], best["finish_reason"]) == (
            answer["output"],
            answer["finish_reason"],
        )


@pytest.mark.parametrize("first", ["system", "instruction"])
def test_annotate_pairs_the_samples_up_and_judges_by_their_checks(
    first, models, tmp_path, leaderboard
):
    given = rows(8)
    for row in given:
        text = row.pop("prompt")
        if first == "system":
            turns = [("system", "Be brief."), ("user", text), ("assistant", "an old answer")]
            row["messages"] = [{"role": role, "content": content} for role, content in turns]
        else:
            row |= {"instruction": "Answer this.", "input": text, "output": "an old answer"}
    data, output = write_rows(tmp_path / "p.jsonl", given), tmp_path / "s.jsonl"
    assert draw(models[0], data, output, "--n", 6) == 0
    out = tmp_path / "prefs.jsonl"
    done = leaderboard("annotate", output, "--multi", "--panel", "checklist", "--out", out)
    assert done.code == 0, done.err
    found = read_lines(out)
    assert len(found) == len(read_pairs(output, multi=True)) > 4
    for one in found:
        assert [turn["role"] for turn in one["messages"]][-1] == "user"
        says = [bool(re.search(r"\byes\b", one[f"output_{k}"])) for k in (1, 2)]
        assert round(2 * one["preference"] - 1) == says[1] - says[0]
    assert {one["preference"] for one in found} > {0.5}


def test_candidates_are_what_a_ranking_method_reads(models, tmp_path):
    policy, reward = models
    given = [*rows(4), {"id": "c", "messages": [
        {"role": "user", "content": "Say red 0"}, {"role": "assistant", "content": "red yes"},
        {"role": "user", "content": "Say blue 1"},
    ]}]  # fmt: skip
    data, output = write_rows(tmp_path / "p.jsonl", given), tmp_path / "c.jsonl"
    flags = ("--n", 3, "--reward-model", reward)
    assert draw(policy, data, output, *flags, "--form", "candidates") == 0
    found = read_candidates(str(output))
    assert [one.messages[-1].content for one in found] == [*ASKED[:4], "Say blue 1"]
    assert [len(one.messages) for one in found] == [1, 1, 1, 1, 3]
    lines = read_lines(output)
    assert lines[0]["checks"] == given[0]["checks"]
    assert "prompt" not in lines[0]
    assert draw(policy, data, tmp_path / "s.jsonl", *flags) == 0
    drawn = read_lines(tmp_path / "s.jsonl")
    assert [text for one in found for text in one.responses] == [one["output"] for one in drawn]
    assert [score for one in found for score in one.scores] == [one["score"] for one in drawn]
    assert any(len(set(one.scores)) > 1 for one in found)


def test_greedy_answers_are_the_policys_likeliest(models, tmp_path):
    policy, _ = models
    data, output = prompts(tmp_path / "p.jsonl"), tmp_path / "s.jsonl"
    assert draw(policy, data, output, "--n", 1, "--temperature", 0) == 0
    held = loaded(policy, tmp_path)
    draws = [Draw(tuple(held.encoder.prompt((Message("user", t),))), 0) for t in ASKED[:12]]
    plain = sample(held, draws, Sampling(max_new_tokens=8, temperature=0))
    expected = [held.encoder.text(one.tokens) for one in plain]
    assert [one["output"] for one in read_lines(output)] == expected


def test_a_killed_run_goes_on(models, tmp_path, monkeypatch):
    data = prompts(tmp_path / "p.jsonl")
    assert draw(models[0], data, tmp_path / "whole" / "s.jsonl", "--n", 3) == 0
    output = tmp_path / "parts" / "s.jsonl"

    assert killed_after(5, lambda: draw(models[0], data, output, "--n", 3)) == -signal.SIGKILL
    assert not output.exists()
    wanted: list[int] = []
    drawn = selecting.sample_key
    monkeypatch.setattr(selecting, "sample_key", lambda *key: wanted.append(key[2]) or drawn(*key))
    assert draw(models[0], data, output, "--n", 3) == 0
    assert len(wanted) == 3 * (12 - 5)
    assert output.read_bytes() == (tmp_path / "whole" / "s.jsonl").read_bytes()
    assert not (tmp_path / "parts" / "s.run" / "kept-answers").exists()


def test_two_processes_write_what_one_does(models, tmp_path):
    data = prompts(tmp_path / "p.jsonl", 7)
    assert draw(models[0], data, tmp_path / "one.jsonl") == 0

    def run() -> None:
        assert draw(models[0], data, tmp_path / "two.jsonl") == 0

    assert in_processes(run, world=2) == [0, 0]
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


def test_what_does_not_fit_is_counted(models, tmp_path, capsys):
    """Of the policy's window a prompt is left out, of the reward model's a score."""
    policy, reward = models
    short = tmp_path / "short"
    short.mkdir()
    for name, content in files_of(policy).items():
        (short / name).write_bytes(content)
    edit_json(short / "config.json", max_position_embeddings=40)
    texts = ["Say x", "Say " + "so " * 40, "Say x"]
    data = write_rows(tmp_path / "p.jsonl", [{"prompt": text} for text in texts])
    assert draw(short, data, tmp_path / "s.jsonl") == 0
    told = capsys.readouterr().out
    assert "answered by nothing: 1" in told
    assert "get the same samples: 1" in told
    found = read_lines(tmp_path / "s.jsonl")
    assert [one["prompt"] for one in found] == ["Say x"] * 4
    assert found[:2] == found[2:]

    narrow = tmp_path / "narrow"
    narrow.mkdir()
    for name, content in files_of(reward).items():
        (narrow / name).write_bytes(content)
    length = len(loaded(policy, tmp_path).encoder.judged((Message("user", "Say red 0"),), "no "))
    edit_json(narrow / "config.json", max_position_embeddings=length)
    data = write_rows(tmp_path / "q.jsonl", [{"prompt": "Say red 0"}])
    flags = ("--n", 16, "--reward-model", narrow)
    assert draw(policy, data, tmp_path / "r.jsonl", *flags) == 0
    assert "do not fit the reward model and have no score" in capsys.readouterr().out
    scores = [one["score"] for one in read_lines(tmp_path / "r.jsonl")]
    assert 0 < sum(one is None for one in scores) < 16
    assert draw(policy, data, tmp_path / "c.jsonl", *flags, "--form", "candidates") == 0
    (found,) = read_candidates(str(tmp_path / "c.jsonl"))
    assert list(found.scores) == [one for one in scores if one is not None]


# ---------------------------------------------------------------------------------------- bad input
def refused(capsys: pytest.CaptureFixture[str], code: int, told: str) -> None:
    err = capsys.readouterr().err
    assert code == 2
    assert told in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--n", 0), "n = 0: at least 1"),
        (("--temperature", 0), "n = 2: at temperature 0 all samples are one"),
        (("--form", "candidates"), "reward_model: candidates have scores"),
        (("--batch-size", 7), "batch_size: generate trains nothing"),
        (("--output", "s.csv"), "a file that ends in .jsonl"),
        (("--reward-model", "nowhere/at/all"), "there is no such folder"),
    ],
)
def test_wrong_settings_are_refused(flags, told, models, tmp_path, capsys):
    data = prompts(tmp_path / "p.jsonl", 2)
    given = [] if "--output" in flags else ["--output", tmp_path / "s.jsonl"]
    asked = ["--model-name-or-path", models[0], "--dataset", data, *SHORT, *given, *flags]
    refused(capsys, generate.main([str(one) for one in asked]), told)
    assert [p.name for p in tmp_path.iterdir()] == ["p.jsonl"]


def test_what_is_there_is_not_replaced(models, tmp_path, capsys):
    data, output = prompts(tmp_path / "p.jsonl", 2), tmp_path / "s.jsonl"
    output.write_text("mine")
    refused(capsys, draw(models[0], data, output), "s.jsonl is there already")
    assert output.read_text() == "mine"
    assert draw(models[0], data, output, "--overwrite", True) == 0
    refused(capsys, draw(models[0], data, output), "a finished run of generate")
    refused(capsys, draw(models[0], data, output, "--seed", 1), "seed was 0, is now 1")


def test_a_column_that_json_does_not_hold(models, tmp_path, capsys):
    data = tmp_path / "p.parquet"
    column = pyarrow.array([b"\xff"])
    parquet.write_table(pyarrow.table({"prompt": ["Say x"], "raw": column}), data)
    refused(
        capsys, draw(models[0], data, tmp_path / "s.jsonl"), "row 1: a column cannot be carried"
    )
    write_rows(tmp_path / "p.jsonl", [{"question": " "}])
    refused(capsys, draw(models[0], tmp_path / "p.jsonl", tmp_path / "s.jsonl"), "not empty")
