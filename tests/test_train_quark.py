"""Quark: quantiles against a naive loop, the KL against both models, rewards that rise in both
variants, runs that are killed or shared."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import files_of, read_json, read_lines
from hypothesis import given
from hypothesis import strategies as st
from preferring import liking, loaded, prompts, undecided
from safetensors.torch import load_file
from test_train_processes import recorded
from tiny_model import make_tiny_tokenizer
from training import ASKED, MAIN, in_processes, metrics, train

from judges.schema import Message
from train_baselines import ops, quark
from train_baselines.data.examples import Example, pad
from train_baselines.models.conditioning import bare, behind, condition, reward_tokens
from train_baselines.models.loading import load_scalar_model
from train_baselines.models.wrapped import Policy
from train_baselines.quark import Held, quantiles, quark_loss
from train_baselines.runtime import storage
from train_baselines.runtime.run import Run
from train_baselines.sampling import rollouts, selecting
from train_baselines.sampling.sampler import BuiltIn, Sampling
from train_baselines.sft import SFTConfig

FLAGS = {
    "batch_size": 40, "step_batch_size": 40, "learning_rate": 1e-3, "max_new_tokens": 8,
    "max_length": 64, "save_steps": 2, "max_steps": 5,
}  # fmt: skip
PAPER = {
    "variant": "paper", "n_quantiles": 2, "num_gradient_steps": 6, "step_batch_size": 20,
    "learning_rate": 2e-3, "kl_coef": 0.01, "lr_scheduler_type": "constant", "max_steps": 6,
}  # fmt: skip
FEW = {"variant": "paper", "num_gradient_steps": 2, "step_batch_size": 7}


@pytest.fixture(scope="module")
def models(tiny_llama, tmp_path_factory) -> tuple[Path, Path]:
    """A policy that says yes or no, and a reward model that likes an s, which no prompt has."""
    folder = tmp_path_factory.mktemp("models")
    return undecided(tiny_llama, folder), liking(tiny_llama, "s", folder / "liking")


def learn(models: tuple[Path, Path], data: Path, out: Path, **flags: object) -> int:
    policy, reward = models
    return train("quark", policy, data, out, **{"reward_model": reward, **FLAGS, **flags})


# --------------------------------------------------------------------------------------- quantiles
def naive_quantiles(rewards: list[float], n: int) -> list[int]:
    left, found = list(range(len(rewards))), {}
    size = max(1, len(rewards) // n)
    for place in range(len(rewards)):
        best = left[0]
        for row in left[1:]:
            if rewards[row] > rewards[best]:
                best = row
        left.remove(best)
        found[best] = min(n - 1, place // size)
    return [found[row] for row in range(len(rewards))]


@given(st.lists(st.integers(-3, 3) | st.floats(-1, 1), min_size=1, max_size=23), st.integers(2, 6))
def test_quantiles_are_those_of_a_naive_loop(rewards, n):
    assert quantiles(rewards, n) == naive_quantiles(rewards, n)


def test_quantiles_by_hand():
    assert quantiles([1, 4, 2, 3], 2) == [1, 0, 1, 0]
    assert quantiles([1, 1, 1, 1], 2) == [0, 0, 1, 1]  # of equal ones the earlier ranks higher
    assert quantiles([5, 4, 3, 2, 1, 0, -1], 3) == [
        0,
        0,
        1,
        1,
        2,
        2,
        2,
    ]  # the remainder is the last's
    assert quantiles([2, 3], 4) == [1, 0]


# ---------------------------------------------------------------------------------------- the loss
def test_quark_loss_by_hand():
    found = ops.Divergence(
        torch.tensor([-1.0, -2.0, -6.0]), torch.tensor([0.1, 0.0, 0.5]), torch.tensor([1.0, 2, 3])
    )
    loss, figures = quark_loss(found, kl_coef=0.5, entropy_coef=0.1)
    assert loss.item() == pytest.approx((9 + 0.5 * 0.6 - 0.1 * 6) / 3)
    assert figures["token_kl"].item() == pytest.approx(0.2)
    assert figures["entropy"].item() == pytest.approx(2)


def rows_behind(policy: Policy, tokens: list[int]) -> list[Example]:
    """Rows of several lengths, each behind another token."""
    rows = []
    for n, text in enumerate(["Say red", "Say", "Say green cat"]):
        prompt = policy.encoder.prompt((Message("user", text),))
        answer = policy.encoder.answer("yes " * (3 - n))
        rows.append(behind(tokens[n], bare(Example((*prompt, *answer), len(prompt), ""))))
    return rows


@pytest.mark.parametrize("lora", [False, True], ids=["a copy", "the adapter off"])
def test_the_held_policy_gives_what_both_models_do(lora, tiny_llama, tmp_path):
    policy, reference = (loaded(tiny_llama, tmp_path) for _ in range(2))
    plain_vocabulary = len(policy.encoder.tokenizer)
    tokens, _ = (condition(one, reward_tokens(3), 0) for one in (policy, reference))
    if lora:
        from peft import LoraConfig, get_peft_model

        settings = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)
        policy.model = get_peft_model(policy.model, settings)
    else:
        with torch.no_grad():
            for weight in policy.parameters():
                weight += 0.01 * torch.randn_like(weight)
    held = Held(policy, None if lora else reference, tokens)
    assert len(list(held.parameters())) == len(list(policy.parameters()))
    rows, pad_id = rows_behind(policy, tokens), policy.encoder.pad
    found = held(pad(rows, pad_id), pad([bare(row) for row in rows], pad_id))
    expected = []
    for row in rows:
        begin, end = row.n_prompt, len(row.ids)
        alone = (*row.ids[: begin - 1], *row.ids[begin:])
        with torch.no_grad():
            p = policy.model(torch.tensor([row.ids])).logits[0, begin - 1 : end - 1]
            q = reference.model(torch.tensor([alone])).logits[0, begin - 2 : end - 2]
        labels = torch.tensor(row.ids[begin:])[:, None]
        logprobs = p.log_softmax(-1).gather(1, labels)[:, 0]
        p, q = (logits[:, :plain_vocabulary].softmax(-1) for logits in (p, q))
        expected.append(torch.stack([logprobs, (p * (p / q).log()).sum(-1)]))
    torch.testing.assert_close(
        torch.stack([found.logprobs, found.kl]), torch.cat(expected, 1), rtol=1e-5, atol=1e-5
    )
    assert found.kl.min() > 1e-5


# ------------------------------------------------------------------------------ what runs do learn
def test_the_best_quantile_of_a_step_is_learnt(models, tmp_path):
    data, out = prompts(tmp_path / "p.jsonl", len(ASKED)), tmp_path / "out"
    assert learn(models, data, out, seed=1) == 0
    lines = metrics(out)
    assert lines[0]["token_kl"] == pytest.approx(0, abs=1e-5)  # the reference is where it began
    assert lines[-1]["token_kl"] > 0.05
    assert lines[0]["best_reward"] > lines[0]["reward"] + 0.5
    assert lines[-1]["reward"] > lines[0]["reward"] + 0.7
    run = read_json(out / "train_config.json")
    assert (run["method"], run["finished"]) == ("quark", True)
    before, after = (loaded(path, tmp_path).encoder for path in (models[0], out))
    assert len(before.tokenizer) == len(after.tokenizer)  # no tokens at all
    assert before.template.digest() == after.template.digest()


def test_tokens_of_quantiles_are_learnt(models, tmp_path):
    data, out = prompts(tmp_path / "p.jsonl", len(ASKED)), tmp_path / "out"
    assert learn(models, data, out, **PAPER, batch_size=20) == 0
    lines = metrics(out)
    assert lines[-1]["reward"] > lines[0]["reward"] + 0.7
    assert not list(out.glob("kept-*"))
    policy = loaded(out, tmp_path)
    best, worst = policy.encoder.tokenizer.convert_tokens_to_ids([*reward_tokens(2)])
    asked = [selecting.question((Message("user", text),), policy.encoder, "") for text in ASKED]
    assert {one.prompt[-1] for one in asked} == {best}  # whoever asks, asks for a good answer
    behind_worst = [replace(one, prompt=(*one.prompt[:-1], worst)) for one in asked]
    good, bad = (mean_reward(policy, models[1], one, tmp_path) for one in (asked, behind_worst))
    assert good > bad + 1


def mean_reward(policy: Policy, path: Path, asked: list[selecting.Question], folder: Path) -> float:
    config = SFTConfig(model_name_or_path="", dataset="", output_dir=folder / "unused")
    reward = load_scalar_model(str(path), config, Run("look", config))
    scorer = selecting.by_reward(reward, tokens_per_device=4096)
    sampling = Sampling(max_new_tokens=8)
    found = selecting.drawn(BuiltIn(policy, 4096), asked, 2, sampling, scorer, seed=5)
    return statistics.fmean(score for *_, score in found)


def test_lora_takes_the_adapter_off_for_its_reference(models, tmp_path):
    data, out = prompts(tmp_path / "p.jsonl", 12), tmp_path / "out"
    assert learn(models, data, out, use_peft=True, max_steps=2, batch_size=6) == 0
    first, second = metrics(out)
    assert first["token_kl"] == pytest.approx(0, abs=1e-5)
    assert second["token_kl"] > 1e-4
    assert (out / "adapter").is_dir()


def test_answers_are_drawn_behind_the_best_token_from_the_second_step_on(
    models, tmp_path, monkeypatch
):
    seen = []

    def drawn(sampler, questions, n, sampling, scorer, *, seed):
        seen.append(({one.prompt[-1] for one in questions}, seed))
        return selecting.drawn(sampler, questions, n, sampling, scorer, seed=seed)

    monkeypatch.setattr(rollouts, "drawn", drawn)
    data, out = prompts(tmp_path / "p.jsonl", 12), tmp_path / "out"
    assert learn(models, data, out, **FEW, max_steps=2, batch_size=6) == 0
    best = loaded(out, tmp_path).encoder.tokenizer.convert_tokens_to_ids("<reward_0>")
    (first, one), (second, other) = seen
    assert best not in first
    assert second == {best}
    assert one != other


# --------------------------------------------------------------------------- resumed, and many
@pytest.mark.parametrize("flags", [FEW, {}], ids=["paper", "best_quantile"])
def test_a_killed_run_ends_with_the_same_bytes(flags, models, tiny_llama, tmp_path, capsys):
    both = tiny_llama, models[1]  # a policy that says all kinds of things
    data = prompts(tmp_path / "p.jsonl", 24)
    flags = {**flags, "batch_size": 24, "max_steps": 4}
    whole, parts, torn = (tmp_path / name for name in ("whole", "parts", "torn"))
    assert learn(both, data, whole, **flags) == 0

    def killed() -> None:
        end = Run._end_step

        def kill(self: Run, epoch: float) -> None:
            if self.step == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            end(self, epoch)

        Run._end_step = kill
        learn(both, data, parts, **flags)

    assert in_processes(killed) == [-signal.SIGKILL]
    assert storage.last_checkpoint(parts).name == "step-2"
    shutil.copytree(parts, torn)
    assert learn(both, data, parts, **flags) == 0
    wrote, expected = files_of(parts), files_of(whole)
    assert set(wrote) == set(expected)
    assert wrote["model.safetensors"] == expected["model.safetensors"]
    untimed = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in metrics(path)]
        for path in (parts, whole)
    ]
    assert untimed[0] == untimed[1]

    pool = sorted((torn / "kept-pool").glob("*"))
    assert [path.name for path in pool] == [
        f"step-{n}.jsonl" for n in (1, 2, 3) if "variant" in flags
    ]
    if not pool:
        return
    rows = [read_lines(path) for path in pool]
    assert all(0 < len(one) <= 24 for one in rows)
    assert sum(map(len, rows)) < 3 * 24
    tokens = loaded(whole, tmp_path).encoder.tokenizer.convert_tokens_to_ids([*reward_tokens(4)])
    assert not any(set(tokens).intersection(row["ids"]) for one in rows for row in one)
    pool[0].unlink()
    assert learn(both, data, torn, **flags) == 2
    assert "step-1.jsonl is gone, the run cannot be resumed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [{}, FEW, {**FEW, "use_peft": True}],
    ids=["best_quantile", "paper", "paper with lora"],
)
def test_two_processes_take_the_same_first_step(flags, models, tmp_path, monkeypatch):
    policy, reward = models
    data = prompts(tmp_path / "p.jsonl", 13)
    more = {"reward_model": reward, "max_new_tokens": 8, "max_length": 64, **flags}
    given = [x for k, v in more.items() for x in (f"--{k}", str(v))]
    monkeypatch.setitem(MAIN, "quark", lambda args: quark.main([*args, *given]))
    found = []
    for world in (None, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        codes = in_processes(recorded, folder, "quark", policy, data, 13, world=world)
        assert set(codes) == {0}
        gradients = [load_file(p)["gradient"] for p in sorted(folder.glob("*.safetensors"))]
        assert all(torch.equal(gradients[0], other) for other in gradients[1:])
        (line,) = metrics(folder / "out")
        found.append((line, gradients[0]))
    (alone, gradient), (together, other) = found
    for name in ("loss", "grad_norm", "reward", "best_reward", "entropy", "tokens"):
        assert alone[name] == pytest.approx(together[name], rel=1e-5)
    assert alone["token_kl"] == pytest.approx(together["token_kl"], rel=1e-5, abs=1e-6)
    assert (gradient - other).abs().max() <= 1e-5 * gradient.abs().max()


# ----------------------------------------------------------------------------------------- settings
@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"n_quantiles": 1}, "n_quantiles = 1: at least 2"),
        ({"step_batch_size": 0}, "step_batch_size = 0: at least 1"),
        ({"num_gradient_steps": 0}, "num_gradient_steps = 0: at least 1"),
        ({"kl_coef": -1}, "kl_coef = -1.0: it cannot be negative"),
        ({"variant": "best"}, "--help"),
        ({"top_p": 0}, "top_p = 0.0"),
        ({"max_length": 12}, "no examples are left"),
        ({"reward_model": "no/where/at/all"}, "there is no such folder"),
        ({"chat_template": "t.jinja", "variant": "paper"}, "does not end a prompt with <reward_0>"),
        ({"learning_rate": 1e30}, "is not finite, in the batch of"),
    ],
)
def test_wrong_settings_are_refused(flags, told, models, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    template = "{% set add_generation_prompt = false %}{{ messages[-1]['content'] }}"
    Path("t.jinja").write_text(template, encoding="utf-8")
    data = prompts(tmp_path / "p.jsonl", 4)
    assert learn(models, data, tmp_path / "out", **flags) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert "Traceback" not in captured.err
    if "max_length" in flags:
        assert "0 prompts; dropped 4: prompts without room for max_new_tokens" in captured.out


def test_an_answer_that_does_not_fit_the_reward_model_is_told_of(
    models, tiny_llama, tmp_path, capsys
):
    small = liking(tiny_llama, "s", tmp_path / "small", window=9)
    data = prompts(tmp_path / "p.jsonl", 4)
    assert learn((models[0], small), data, tmp_path / "out") == 2
    assert "the reward model has no score for an answer" in capsys.readouterr().err


def test_a_reward_model_may_have_a_tokenizer_of_its_own(models, tmp_path):
    make_tiny_tokenizer(tmp_path / "words", vocab_size=280)
    own = liking(tmp_path / "words", "s", tmp_path / "own")
    data = prompts(tmp_path / "p.jsonl", 4)
    assert learn((models[0], own), data, tmp_path / "out", max_steps=1) == 0


def test_fsdp_is_refused(models, tmp_path, capsys, monkeypatch):
    from accelerate import Accelerator
    from accelerate.utils import DistributedType

    kind = property(lambda _: DistributedType.FSDP)
    monkeypatch.setattr(Accelerator, "distributed_type", kind)
    monkeypatch.setattr(Accelerator, "is_fsdp2", property(lambda _: True))
    assert learn(models, prompts(tmp_path / "p.jsonl", 2), tmp_path / "out") == 2
    assert "launch it under DDP" in capsys.readouterr().err
