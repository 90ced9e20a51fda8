"""`make baselines`: its graph is whole, and every command in it has flags that the program knows."""

from __future__ import annotations

import dataclasses
import importlib
import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tyro

from leaderboard.cli import COMMANDS
from train_baselines.runtime.config import RunConfig, parse

pytest.importorskip("torch", reason="methods need torch")
if shutil.which("make") is None:
    pytest.skip("make is not there", allow_module_level=True)

ROOT = Path(__file__).parents[1]
FARM = {
    "train_baselines.farm": ("world", "Farm"),
    "train_baselines.farm.base": ("base", "Start"),
    "train_baselines.farm.utility": ("utility", "Arguments"),
    "train_baselines.farm.agreement": ("agreement", "Arguments"),
    "train_baselines.farm.report": ("report", "Arguments"),
}


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> list[list[str]]:
    """The commands of a whole run, each once, with its flags, from `-m` or `leaderboard` on."""
    results = tmp_path_factory.mktemp("results")
    flags = ["SEED=12345", f"RESULTS={results}", "VENV=.venv"]
    told = subprocess.run(
        ["make", "--no-print-directory", "-n", "farm-rows", *flags],
        cwd=ROOT, capture_output=True, text=True, check=True,
        env={name: value for name, value in os.environ.items() if name != "MAKEFLAGS"},
    ).stdout.replace("\\\n", " ")  # fmt: skip
    found = []
    for line in dict.fromkeys(told.splitlines()):
        words = shlex.split(line.partition(">")[0])
        if "-m" in words:
            found.append(words[words.index("-m") + 1 :])
        elif leaderboard := [n for n, word in enumerate(words) if word.endswith("bin/leaderboard")]:
            found.append(["leaderboard", *words[leaderboard[0] + 1 :]])
    return found


def config_of(module: str) -> type[RunConfig]:
    (kind,) = (
        value
        for value in vars(importlib.import_module(module)).values()
        if dataclasses.is_dataclass(value)
        and value.__module__ == module
        and issubclass(value, RunConfig)
    )
    return kind


def parsed(module: str, args: list[str]) -> Any:
    if module == "leaderboard":
        words = 2 if " ".join(args[:2]) in COMMANDS else 1
        source, name = COMMANDS[" ".join(args[:words])][0].split(":")
        kind = getattr(importlib.import_module(source), name)
        return tyro.cli(kind, args=args[words:], config=(tyro.conf.FlagCreatePairsOff,))
    if module in FARM:
        source, name = FARM[module]
        kind = getattr(importlib.import_module(f"train_baselines.farm.{source}"), name)
        return tyro.cli(kind, args=args)
    config = parse(config_of(module), args, module)
    config.check()
    return config


def test_every_command_can_be_given(commands):
    assert len(commands) > 40
    for module, *args in commands:
        parsed(module, args)


def test_every_method_comes_to_a_row(commands):
    rows = {args[args.index("--name") + 1] for _, *args in commands if "--name" in args}
    methods = {
        path.stem
        for path in (ROOT / "train_baselines").glob("*.py")
        if "def train(config" in path.read_text()
    } - {"generate", "reward_model", "best_of_n"}
    best = {f"best_of_{n}-12345" for n in (1, 4, 16, 64, 256)}
    controls = {"base-12345", "greedy-12345", "likeliest_of_16-12345"}
    assert rows == {f"{method}-12345" for method in methods} | best | controls


def test_every_config_of_the_farm_is_used(commands):
    told = " ".join(" ".join(command) for command in commands)
    for path in (ROOT / "train_baselines/configs/farm").glob("*.toml"):
        assert str(path.relative_to(ROOT)) in told
