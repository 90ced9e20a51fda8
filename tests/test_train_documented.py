"""What the documents say of training runs is what runs write, and what the code has."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from conftest import files_of, read_json, read_lines
from preferring import liking_yes, prompts
from test_documented_files import documented
from test_layers import LAYERS, METHOD
from training import MAIN, demonstrations, metrics, preferences, train

from train_baselines.best_of_n import BestOfNConfig
from train_baselines.dpo import DPOConfig
from train_baselines.expert_iteration import ExpertIterationConfig
from train_baselines.feedme import FeedMEConfig
from train_baselines.generate import GenerateConfig
from train_baselines.ppo import PPOConfig
from train_baselines.quark import QuarkConfig
from train_baselines.reward_conditioning import RewardConditioningConfig
from train_baselines.reward_model import RewardModelConfig
from train_baselines.rrhf import RRHFConfig
from train_baselines.runtime.config import RunConfig
from train_baselines.sft import SFTConfig

DOC = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
CONFIGS = {
    "sft": SFTConfig, "reward_model": RewardModelConfig, "dpo": DPOConfig,
    "best_of_n": BestOfNConfig, "expert_iteration": ExpertIterationConfig, "feedme": FeedMEConfig,
    "reward_conditioning": RewardConditioningConfig, "generate": GenerateConfig,
    "ppo": PPOConfig, "quark": QuarkConfig, "rrhf": RRHFConfig,
}  # fmt: skip


def table(heading: str) -> dict[str, list[str]]:
    """The first table under a heading: the methods of a row's first cell → its other cells."""
    section = DOC.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return {
        name: [cell.strip() for cell in row[1:]]
        for row in rows[2:]
        for name in re.findall(r"`(\w+)`", row[0])
    }


@pytest.mark.parametrize("heading", ["The methods", "Defaults", "Many devices"])
def test_every_method_of_this_test_is_documented(heading):
    found = table(heading)
    assert set(CONFIGS) <= set(found)
    methods = {name for name, layer in LAYERS["train_baselines"].items() if layer == METHOD}
    assert set(found) <= methods


@pytest.mark.parametrize("method", CONFIGS)
def test_the_defaults_are_the_documented_ones(method):
    epochs, batch, rate, own, _ = table("Defaults")[method]
    config = CONFIGS[method]
    default: dict[str, Any] = {field.name: field.default for field in fields(config)}
    if method not in ("best_of_n", "generate"):
        assert int(epochs) == default["num_train_epochs"]
        assert int(batch.split()[0]) == default["batch_size"]
        assert float(rate) == config.full_learning_rate
    if own.startswith("n "):
        n = default["n"][0] if method == "best_of_n" else default["n"]
        found = [default[name] for name in ("temperature", "top_p", "max_new_tokens")]
        assert own.startswith(f"n {n}, temperature {found[0]:g}, top_p {found[1]}, {found[2]} new")


@pytest.mark.parametrize("method", CONFIGS)
def test_few_settings_of_its_own(method):
    shared = {field.name for field in fields(RunConfig)}
    assert len({field.name for field in fields(CONFIGS[method])} - shared) <= 20


def test_the_files_of_a_run_are_the_documented_ones(tiny_llama, tmp_path):
    data = {"sft": demonstrations(tmp_path / "d.jsonl"), "dpo": preferences(tmp_path / "p.jsonl")}
    reward = liking_yes(tiny_llama, tmp_path)
    for method in ("expert_iteration", "ppo", "rrhf", "quark"):
        data[method] = prompts(tmp_path / "q.jsonl", 3)
    layout = documented("The folder of a training run")
    keys = documented("train_config.json")
    lines: set[str] = set()
    for method, more in (
        ("sft", {"use_peft": True, "export_steps": 1}),
        ("dpo", {}),
        ("expert_iteration", {"reward_model": reward, "max_new_tokens": 4, "n": 2}),
        ("quark", {"reward_model": reward, "max_new_tokens": 4}),
        ("ppo", {"reward_model": reward, "max_new_tokens": 4, "eval_dataset": data["ppo"]}),
        ("rrhf", {"reward_model": reward, "max_new_tokens": 4, "kl_coef": 0.1}),
    ):
        out = tmp_path / method
        assert train(method, tiny_llama, data[method], out, max_steps=2, **more) == 0
        for name in files_of(out):
            top = re.sub(r"^step-\d+/.*", "step-N/", re.sub(r"^adapter/.*", "adapter/", name))
            assert top in layout, name
        run = read_json(out / "train_config.json")
        assert list(run) == keys
        looked = {"best_step", "eval_reward"} if method == "ppo" else set()
        assert {"examples", "steps", "dropped"} | looked == set(run["facts"])
        lines |= {key for line in metrics(out) for key in line}
    lines |= {key for line in metrics(reward) for key in line}
    assert lines == set(documented("Lines of metrics.jsonl"))

    flags = ["--model-name-or-path", tiny_llama, "--reward-model", reward, "--dataset",
             data["expert_iteration"], "--output", tmp_path / "a.jsonl", "--max-new-tokens", 4]  # fmt: skip
    assert MAIN["best_of_n"]([str(one) for one in flags]) == 0
    assert set(files_of(tmp_path / "a.run")) == {"train_config.json", "rewards.jsonl"}
    rewards = read_lines(tmp_path / "a.run" / "rewards.jsonl")
    columns = documented("What best_of_n writes")
    assert list(rewards[0]) == [key for key in columns if key != "instruction"]
