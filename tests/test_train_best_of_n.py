"""Best-of-n: the best rises with n, small n are prefixes of large ones, killed runs go on."""

from __future__ import annotations

import signal
import statistics
from pathlib import Path

import pytest
from conftest import CHECKLIST, edit_json, files_of, make_board, read_json, read_lines, write_rows
from preferring import liking_yes, loaded, logprobs, prompts, undecided
from tiny_model import CHAT_TEMPLATE, make_tiny_llama
from training import ASKED, in_processes, killed_after, preferences, train

from judges.backends.reward import RewardScorer
from judges.kinds.reward_model import _conversation
from judges.schema import Instruction, Message
from leaderboard.answers.answers import read_answers
from train_baselines import best_of_n
from train_baselines.runtime import storage
from train_baselines.sampling import selecting

SHORT = ("--max-new-tokens", "8")


@pytest.fixture(scope="module")
def models(tiny_llama, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    policy = undecided(tiny_llama, folder)
    return policy, liking_yes(policy, folder)


def decode(policy: Path, reward: Path | None, data: Path, output: Path, *flags: object) -> int:
    asked = ["--model-name-or-path", policy, "--dataset", data, "--output", output, *SHORT, *flags]
    if reward is not None:
        asked += ["--reward-model", reward]
    return best_of_n.main([str(one) for one in asked])


def instructions(n: int = 12) -> list[Instruction]:
    return [
        Instruction(id=f"p{k}", messages=(Message("user", text),), gold_answer="x")
        for k, text in enumerate(ASKED[:n])
    ]


def test_the_best_rises_with_n(models, tmp_path, capsys):
    data, output = prompts(tmp_path / "p.jsonl"), tmp_path / "a.jsonl"
    assert decode(*models, data, output, "--n", 1, 2, 16) == 0
    told = capsys.readouterr().out
    rewards = read_lines(tmp_path / "a.run" / "rewards.jsonl")
    scores = [
        statistics.fmean(one["score"] for one in rewards if one["n"] == n) for n in (1, 2, 16)
    ]
    assert scores[0] + 0.3 < scores[1] < scores[2]
    right = []
    for n in (1, 2, 16):
        answers, generator = read_answers(tmp_path / f"a-{n}.jsonl", instructions())
        assert generator == f"policy-best-of-{n}"
        right.append(sum("yes" in one.text for one in answers.values()))
        assert f"a-{n}.jsonl: the best of {n} by reward: " in told
    assert right[0] + 2 < right[2]
    assert right[2] >= 11
    for one in rewards:
        assert 0 <= one["k"] < one["n"]
        assert one["score"] >= one["mean_score"]
        assert one["n"] > 1 or one["score"] == one["mean_score"]
    run = read_json(tmp_path / "a.run" / "train_config.json")
    assert (run["method"], run["finished"]) == ("best_of_n", True)
    assert run["facts"]["best of 16"]["score"] == pytest.approx(scores[2])
    assert not (tmp_path / "a.run" / "kept-answers").exists()


def test_a_smaller_n_is_the_beginning_of_a_larger_one(models, tmp_path, monkeypatch):
    data = prompts(tmp_path / "p.jsonl")
    assert decode(*models, data, tmp_path / "a.jsonl", "--n", 3, 7) == 0
    monkeypatch.setattr(selecting, "AT_ONCE", 5)  # in chunks of samples, not only of prompts
    assert decode(*models, data, tmp_path / "b.jsonl", "--n", 3, 7) == 0
    assert decode(*models, data, tmp_path / "c.jsonl", "--n", 3) == 0
    for name in ("a-3.jsonl", "c.jsonl"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "b-3.jsonl").read_bytes()
    assert (tmp_path / "a-7.jsonl").read_bytes() == (tmp_path / "b-7.jsonl").read_bytes()
    # Beyond the chunks the sum is that of the others: so is the mean score.
    one, other = (read_lines(tmp_path / f"{name}.run" / "rewards.jsonl") for name in "ab")
    means = [[r["mean_score"] for r in rewards] for rewards in (one, other)]
    assert means[0] == pytest.approx(means[1], abs=1e-5)


@pytest.mark.parametrize("own_words", [False, True])
def test_the_score_is_the_judges(own_words, models, tmp_path):
    """A reward model of another family is asked in its own words, as a judge is, whatever the
    policy's template is."""
    policy, _ = models
    base = make_tiny_llama(tmp_path / "other", chat_template=False, special=("<|x|>",), seed=3)
    pairs, reward = preferences(tmp_path / "pairs.jsonl"), tmp_path / "reward"
    assert train("reward_model", base, pairs, reward, max_steps=2, learning_rate=1e-3) == 0
    data, output = prompts(tmp_path / "p.jsonl"), tmp_path / "a.jsonl"
    file = tmp_path / "t.jinja"
    file.write_text(CHAT_TEMPLATE.replace("bos_token }}", "bos_token }} "))
    flags = ("--chat-template", file) if own_words else ()
    assert decode(policy, reward, data, output, "--n", 4, *flags) == 0
    answers = read_lines(output)
    ended = [n for n, one in enumerate(answers) if one["finish_reason"] == "stop"]
    assert len(ended) > 2
    scored = read_lines(tmp_path / "a.run" / "rewards.jsonl")
    judge = RewardScorer.load(reward)
    asked = instructions()
    found = judge.score([_conversation(asked[n], answers[n]["output"]) for n in ended])
    assert [scored[n]["score"] for n in ended] == pytest.approx(found, abs=1e-5)


def test_the_likeliest_is_the_control(models, tmp_path):
    policy, _ = models
    data = prompts(tmp_path / "p.jsonl", len(ASKED))
    flags = ("--score", "logprob", "--n", 1, 8)
    assert decode(policy, None, data, tmp_path / "a.jsonl", *flags) == 0
    rewards = read_lines(tmp_path / "a.run" / "rewards.jsonl")
    few, many = ([one["score"] for one in rewards if one["n"] == n] for n in (1, 8))
    assert all(b >= a for a, b in zip(few, many, strict=True))
    assert statistics.fmean(many) > statistics.fmean(few) + 0.1
    answers = read_lines(tmp_path / "a-8.jsonl")
    assert answers[0]["generator"] == "policy-best-of-8-by-logprob"
    sums = logprobs(loaded(policy, tmp_path), [one["output"] for one in answers]).tolist()
    for answer, score, expected in zip(answers, many, sums, strict=True):
        if answer["finish_reason"] == "stop":
            assert score == pytest.approx(expected, abs=1e-4)


def test_a_killed_run_goes_on(models, tmp_path):
    data = prompts(tmp_path / "p.jsonl")
    assert decode(*models, data, tmp_path / "whole" / "a.jsonl", "--n", 2, 4) == 0
    output = tmp_path / "parts" / "a.jsonl"

    assert killed_after(5, lambda: decode(*models, data, output, "--n", 2, 4)) == -signal.SIGKILL
    kept = tmp_path / "parts" / "a.run" / "kept-answers" / "rank-0.jsonl"
    assert kept.read_bytes().count(b"\n") == 5
    assert not output.exists()
    before = kept.read_bytes()[: kept.read_bytes().rfind(b"\n") + 1]
    later: list[int] = []
    remove = storage.write_run

    def watched(folder: Path, run: dict[str, object]) -> None:
        if run["finished"]:
            assert kept.read_bytes().startswith(before)
            later.append(kept.read_bytes()[len(before) :].count(b"\n"))
        remove(folder, run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "write_run", watched)
        assert decode(*models, data, output, "--n", 2, 4) == 0
    assert later == [12 - 5]
    whole, parts = files_of(tmp_path / "whole"), files_of(tmp_path / "parts")
    assert set(whole) == set(parts)
    for name in whole:
        assert name.endswith("train_config.json") or whole[name] == parts[name]


def test_two_processes_write_what_one_does(models, tmp_path):
    data = prompts(tmp_path / "p.jsonl", 7)
    assert decode(*models, data, tmp_path / "one.jsonl", "--n", 4) == 0

    def run() -> None:
        assert decode(*models, data, tmp_path / "two.jsonl", "--n", 4) == 0

    assert in_processes(run, world=2) == [0, 0]
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()


def test_a_board_takes_the_answers(models, tmp_path, leaderboard):
    asked = [
        Instruction(
            id=f"p{k}",
            messages=(Message("user", text),),
            checks=({"kind": "contains", "all": ["yes"]},),
            gold_answer="yes",
        )
        for k, text in enumerate(ASKED[:6])
    ]
    board = make_board(tmp_path / "results" / "toy", asked, CHECKLIST)
    output = tmp_path / "a.jsonl"
    assert decode(*models, board.path / "evalset.jsonl", output, "--n", 16) == 0
    done = leaderboard("eval", output, "--board", "toy", "--results", tmp_path / "results")
    assert done.code == 0, done.err
    assert "policy-best-of-16 on toy" in done.out


# ---------------------------------------------------------------------------------------- bad input
def refused(capsys: pytest.CaptureFixture[str], code: int, told: str) -> None:
    err = capsys.readouterr().err
    assert code == 2
    assert told in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--n", 0), "n = (0,): whole numbers from 1"),
        (("--temperature", -1), "temperature = -1.0"),
        (("--learning-rate", 1e-3), "learning_rate: best_of_n trains nothing"),
        (("--score", "logprob"), "reward_model: with --score logprob none is asked"),
        (("--output", "a.csv"), "a file that ends in .jsonl"),
        (("--reward-model", "nowhere/at/all"), "there is no such folder"),
    ],
)
def test_wrong_settings_are_refused(flags, told, models, tmp_path, capsys):
    data = prompts(tmp_path / "p.jsonl", 2)
    policy, reward = models
    given = [*flags] if "--reward-model" in flags else ["--reward-model", reward, *flags]
    if "--output" not in flags:
        given += ["--output", tmp_path / "a.jsonl"]
    asked = ["--model-name-or-path", policy, "--dataset", data, *SHORT, *given]
    refused(capsys, best_of_n.main([str(one) for one in asked]), told)
    assert [p.name for p in tmp_path.iterdir()] == ["p.jsonl"]


def test_a_policy_is_no_reward_model(models, tmp_path, capsys):
    policy, _ = models
    data = prompts(tmp_path / "p.jsonl", 2)
    refused(capsys, decode(policy, policy, data, tmp_path / "a.jsonl"), "is no reward model")
    refused(capsys, decode(policy, None, data, tmp_path / "a.jsonl"), "reward_model: name one")


def test_what_is_there_is_not_replaced(models, tmp_path, capsys):
    data, output = prompts(tmp_path / "p.jsonl", 2), tmp_path / "a.jsonl"
    output.write_text("mine")
    refused(capsys, decode(*models, data, output, "--n", 2), "a.jsonl is there already")
    assert output.read_text() == "mine"
    assert decode(*models, data, output, "--n", 2, "--overwrite", True) == 0
    refused(capsys, decode(*models, data, output, "--n", 2), "a finished run of best_of_n")
    refused(capsys, decode(*models, data, output, "--n", 3), "n was [2], is now [3]")


def test_prompts_that_are_doubled_or_too_long(models, tmp_path, capsys):
    policy, reward = models
    data = write_rows(tmp_path / "p.jsonl", [{"prompt": "Say x"}, {"prompt": "Say x"}])
    refused(
        capsys, decode(*models, data, tmp_path / "a.jsonl"), "line 2: the prompt 'Say x' stands"
    )
    edited = tmp_path / "short"
    edited.mkdir()
    for name, content in files_of(policy).items():
        (edited / name).write_bytes(content)
    edit_json(edited / "config.json", max_position_embeddings=40)
    data = write_rows(tmp_path / "p.jsonl", [{"prompt": "Say x"}, {"prompt": "Say " + "so " * 40}])
    assert decode(edited, reward, data, tmp_path / "a.jsonl", "--n", 2) == 0
    assert (
        "prompts that fill the policy's window, answered by nothing: 1" in capsys.readouterr().out
    )
    first, second = read_lines(tmp_path / "a.jsonl")
    assert first["instruction"] == "Say x"
    assert (second["output"], second["finish_reason"]) == ("", "length")
    asked = [
        Instruction(id=str(k), messages=(Message("user", one["instruction"]),))
        for k, one in enumerate((first, second))
    ]
    answers, _ = read_answers(tmp_path / "a.jsonl", asked)
    assert set(answers) == {"0", "1"}


def test_an_answer_without_a_score_is_never_the_best(models, tmp_path):
    """The reward model's window holds the prompt with short answers alone."""
    policy, reward = models
    edited = tmp_path / "reward"
    edited.mkdir()
    for name, content in files_of(reward).items():
        (edited / name).write_bytes(content)
    data = write_rows(tmp_path / "p.jsonl", [{"prompt": "Say red 0"}])
    length = len(loaded(policy, tmp_path).encoder.judged((Message("user", "Say red 0"),), "no "))
    for window, is_scored in ((length, True), (5, False)):
        edit_json(edited / "config.json", max_position_embeddings=window)
        output = tmp_path / f"{window}.jsonl"
        assert decode(policy, edited, data, output, "--n", 16) == 0
        (found,) = read_lines(tmp_path / f"{window}.run" / "rewards.jsonl")
        assert (found["score"] is not None) == is_scored
        if is_scored:
            assert "yes" not in read_lines(output)[0]["output"]
        else:
            assert found == {"instruction": "Say red 0", "n": 16, "k": 0, "score": None,
                             "mean_score": None}  # fmt: skip
