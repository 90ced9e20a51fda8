"""Answers that a real vLLM draws: those of the built-in sampler where nothing is drawn by chance.

`make test-vllm` runs it on the CPU. Where vLLM is not installed, the last test says what is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import read_json, read_lines
from preferring import liking_yes, loaded, prompts, undecided
from training import ASKED, train

from judges.schema import Message
from train_baselines import best_of_n, expert_iteration, generate
from train_baselines.runtime.run import Run
from train_baselines.sampling.sampler import BuiltIn, Draw, Sampling, sample_key
from train_baselines.sampling.vllm import VllmSampler
from train_baselines.sft import SFTConfig

needs_vllm = pytest.mark.skipif(
    find_spec("vllm") is None, reason="vLLM is not installed: make test-vllm sets it up"
)
ARGS = ("gpu_memory_utilization=0.1", "max_model_len=128")
VLLM = ("--sampler", "vllm", "--vllm-args", *ARGS)


@pytest.fixture(scope="module")
def policy(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return undecided(tiny_llama, tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def sampler(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmSampler]:
    config = SFTConfig(
        model_name_or_path=str(policy), dataset="", output_dir=tmp_path_factory.mktemp("run")
    )
    found = VllmSampler.open(config, Run("look", config), ARGS)
    yield found
    found.close()


@pytest.fixture
def built_in(policy: Path, tmp_path: Path) -> BuiltIn:
    return BuiltIn(loaded(policy, tmp_path), 8192)


def draws(one: Any, n: int = 1) -> list[Draw]:
    read = [tuple(one.encoder.prompt((Message("user", text),))) for text in ASKED[:12]]
    return [
        Draw(prompt, sample_key(0, text, k))
        for prompt, text in zip(read, ASKED, strict=False)
        for k in range(n)
    ]


@needs_vllm
def test_greedy_answers_are_those_of_the_built_in_sampler(sampler, built_in):
    assert draws(sampler) == draws(built_in)
    for most in (1, 8):
        greedy = Sampling(max_new_tokens=most, temperature=0)
        found = sampler.sample(draws(sampler), greedy)
        assert found == built_in.sample(draws(built_in), greedy)
    assert any(one.ended for one in found)


@needs_vllm
def test_a_drawn_answer_hangs_on_its_key(sampler):
    wanted, sampling = draws(sampler, 4), Sampling(max_new_tokens=8, top_p=0.9)
    together = sampler.sample(wanted, sampling)
    assert sampler.sample(wanted[::-1], sampling)[::-1] == together
    assert sampler.sample(wanted[3:4], sampling) == together[3:4]
    other = sampler.sample([Draw(one.prompt, one.key + 1) for one in wanted], sampling)
    assert other != together
    assert len({one.tokens for one in together}) > 4
    for one in together:
        assert one.ended == (one.tokens[-1] == sampler.encoder.end)
        assert one.ended or len(one.tokens) == 8
    late = sampler.sample(wanted, Sampling(max_new_tokens=8, min_new_tokens=5))
    assert min(len(one.tokens) for one in late) > 5


@needs_vllm
def test_shares_are_those_of_the_built_in_sampler(sampler, built_in):
    """Of 400 answers to one prompt, as many have the word: to four standard errors."""
    (draw, *_) = draws(built_in)
    wanted = [Draw(draw.prompt, sample_key(0, "shares", k)) for k in range(400)]
    sampling = Sampling(max_new_tokens=10, temperature=0.8, top_p=0.95)
    one, two = (
        sum("yes" in s.encoder.text(x.tokens) for x in s.sample(wanted, sampling))
        for s in (sampler, built_in)
    )
    assert 40 < two < 360
    assert abs(one - two) < 4 * (2 * 400 * 0.25) ** 0.5


@needs_vllm
def test_the_methods_draw_by_it(policy, tmp_path):
    """The reward model, or the policy that tells how likely a sample is, stands beside it."""
    reward, data = liking_yes(policy, tmp_path), prompts(tmp_path / "p.jsonl", 6)
    asked = ("--model-name-or-path", policy, "--dataset", data, "--max-new-tokens", 8, *VLLM)

    def call(method: Any, name: str, *flags: object) -> list[dict[str, Any]]:
        given = (*asked, "--output", tmp_path / name, *flags)
        assert method.main([str(one) for one in given]) == 0
        return read_lines(tmp_path / name)

    one = call(generate, "s.jsonl", "--n", 4, "--reward-model", reward)
    # Another engine draws the same.
    best = call(best_of_n, "b.jsonl", "--n", 4, "--reward-model", reward)
    for n, answer in enumerate(best):
        drawn = one[4 * n : 4 * n + 4]
        assert answer["output"] == max(drawn, key=lambda sample: sample["score"])["output"]
    likely = call(best_of_n, "l.jsonl", "--n", 4, "--score", "logprob")
    assert {answer["output"] for answer in likely} <= {sample["output"] for sample in one}

    out = tmp_path / "expert"
    flags = {"reward_model": reward, "n": 4, "max_new_tokens": 8, "num_train_epochs": 1}
    given = {"model_name_or_path": policy, "dataset": data, "output_dir": out, **flags}
    args = [str(x) for k, v in given.items() for x in (f"--{k}", v)]
    assert expert_iteration.main([*args, *VLLM]) == 0
    assert read_json(out / "train_config.json")["finished"]
    (line,) = read_lines(out / "metrics.jsonl")
    expected = [max(s["score"] for s in one[4 * n : 4 * n + 4]) for n in range(6)]
    assert line["reward"] == pytest.approx(sum(expected) / 6, abs=1e-4)


# ---------------------------------------------------------------------------------------- bad input
def generated(model: Path, folder: Path, *flags: str) -> int:
    data, output = prompts(folder / "p.jsonl", 2), folder / "s.jsonl"
    asked = ("--model-name-or-path", model, "--dataset", data, "--output", output, *flags)
    return generate.main([str(one) for one in asked])


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--vllm-args", "dtype=float32"), "vllm_args: they go with --sampler vllm"),
        (("--sampler", "vllm", "--vllm-args", "fast"), "'fast': write NAME=VALUE"),
        (("--sampler", "vllm", "--vllm-args", "device=cpu"), "unknown argument 'device'"),
    ],
)
def test_wrong_settings_are_refused(flags, told, tiny_llama, tmp_path, capsys):
    assert generated(tiny_llama, tmp_path, *flags) == 2
    assert told in capsys.readouterr().err


def test_a_policy_in_training_is_not_vllms(tiny_llama, tmp_path, capsys):
    data, flags = prompts(tmp_path / "p.jsonl", 2), {"rounds": 3, "sampler": "vllm"}
    code = train(
        "expert_iteration", tiny_llama, data, tmp_path / "out", reward_model=tiny_llama, **flags
    )
    assert code == 2
    assert "rounds = 3: from the second round on" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_vllm_that_is_not_installed(tiny_llama, tmp_path, capsys):
    assert generated(tiny_llama, tmp_path, "--sampler", "vllm") == 2
    assert 'pip install "herdbook[vllm]"' in capsys.readouterr().err
