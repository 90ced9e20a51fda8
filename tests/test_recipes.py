"""Recipes: every file is a config of every method that its table names."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from train_baselines.runtime.config import RunConfig, parse

pytest.importorskip("torch", reason="methods need torch")

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
TABLE = (ROOT / "recipes/README.md").read_text()


def config_of(method: str) -> type[RunConfig]:
    module = importlib.import_module(f"train_baselines.{method}")
    (kind,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, RunConfig) and value is not RunConfig
    )
    return kind


def rows() -> dict[str, list[str]]:
    found = re.findall(r"^\| \[[^]]+\]\((\S+)\) \|(.+)\|$", TABLE, re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in found}


def test_the_table_names_every_recipe():
    assert sorted(rows()) == [path.name for path in RECIPES]
    assert len(RECIPES) >= 4


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_a_config_of_every_method_of_its_row(path):
    *_, methods, run = rows()[path.name]
    assert run  # "not run", or where it was
    for method in methods.split(", "):
        flags = ["--model-name-or-path", "m", "--dataset", "d", "--output-dir", "o"]
        if method == "expert_iteration":
            flags += ["--reward-model", "r"]
        config = parse(config_of(method), ["--config", str(path), *flags], method)
        config.check()
        assert config.precision == "bf16"
        assert config.use_peft == ("LoRA" in rows()[path.name][0])
