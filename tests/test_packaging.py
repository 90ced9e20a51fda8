"""What is installed with what."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    if "==" in line
)


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~ ]", r)[0].lower().replace("_", "-") for r in requirements}


def test_the_core_pulls_no_model_library_no_provider_and_no_site() -> None:
    heavy = {"torch", "transformers", "vllm", "openai", "anthropic", "gradio"}
    assert names(PROJECT["dependencies"]) & heavy == set()


def test_the_extras_that_are_promised_are_there() -> None:
    assert {"local", "vllm", "train", "site", "dev", "all"} <= set(EXTRAS)
    assert {"torch", "transformers", "peft"} <= names(EXTRAS["local"])
    assert "vllm" not in " ".join(EXTRAS["all"])


def test_every_requirement_is_pinned_but_vllm() -> None:
    wanted = names(PROJECT["dependencies"]).union(*map(names, EXTRAS.values()))
    assert wanted - {"herdbook", "vllm"} <= set(PINS)
    assert PINS["torch"] == "2.13.0"


def test_every_core_requirement_is_justified() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text.partition("dependencies = [")[2].partition("]\n")[0]
    lines = [line for line in block.splitlines() if line.strip()]
    assert lines
    assert [line for line in lines if "#" not in line] == []
