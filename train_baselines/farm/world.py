"""The files of a farm: texts that differ with the seed, drawn from one world that does not.

Every task belongs to one split by a hash of its content, whatever its wording, its wishes and the
seed: nothing that is asked in one split is asked in another, not even on a farm of another seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Any

from pydantic import Field

from judges.base import stable_fraction
from judges.errors import UserError
from judges.panel_files import panel_toml
from judges.records import to_line, write_atomic
from train_baselines.farm import populations
from train_baselines.farm.authors import CORPUS, DEMONSTRATORS, GOLD, Author, write_answer
from train_baselines.farm.tasks import KINDS, Task, draw_task
from train_baselines.farm.vocabulary import save_tokenizer

SPLITS = {
    "pretrain": 0.72, "sft": 0.06, "preference": 0.08, "unlabeled": 0.06, "val": 0.03, "eval": 0.05,
}  # fmt: skip
"""Split → its share of all contents. They are called as in AlpacaFarm."""
SHARED = ("val", "eval")
"""Splits that are the same whatever the seed, so that models of all seeds stand on one board."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Farm:
    """What to write, and how much of it."""

    out: Path
    seed: int = 0
    pretrain: Annotated[int, Field(gt=0)] = 200_000
    """Documents of the corpus; may hold a task more than once."""
    sft: Annotated[int, Field(gt=0)] = 5_000
    """Demonstrations."""
    preference: Annotated[int, Field(gt=0)] = 10_000
    """Prompts whose answers are to be compared."""
    unlabeled: Annotated[int, Field(gt=0)] = 5_000
    """Prompts for methods that learn from a reward."""
    val: Annotated[int, Field(gt=0)] = 400
    """Prompts to choose settings by."""
    eval: Annotated[int, Field(gt=0)] = 600
    """Prompts of the board."""
    pairs: Annotated[int, Field(gt=0)] = 2_000
    """Pairs of distinct answers of demonstrators, on which annotators' agreement is fitted."""
    length_taste: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Multiplies all annotators' taste for length: 0 is a world without it."""


def write_farm(farm: Farm) -> dict[str, int]:
    """Write all files; gives file → lines, judges or tokens. Raises UserError for a folder that is
    not empty."""
    if farm.out.is_dir() and any(farm.out.iterdir()):
        raise UserError(f"{farm.out} is not empty; give another --out")
    sizes = {
        "pretrain.jsonl": _write(farm, "pretrain", _documents(farm, "pretrain", CORPUS)),
        "sft.jsonl": _write(farm, "sft", _documents(farm, "sft", DEMONSTRATORS)),
        "pairs.jsonl": _write(farm, "pairs", _pairs(farm)),
    }
    for split in ("preference", "unlabeled", "val", "eval"):
        sizes[f"{split}.jsonl"] = _write(farm, split, _prompts(farm, split))
    taste = farm.length_taste
    for name, panel in (
        ("people", populations.people(length_taste=taste)),
        ("simulators", populations.simulators(length_taste=taste)),
    ):
        write_atomic(farm.out / f"{name}.toml", panel_toml(panel))
        sizes[f"{name}.toml"] = len(panel["judges"])
    sizes["tokenizer/"] = save_tokenizer(farm.out / "tokenizer")
    made_by = {"schema_version": 1, **asdict(farm)}
    del made_by["out"]
    write_atomic(farm.out / "farm.json", json.dumps(made_by, indent=2) + "\n")
    return sizes


def split_of(task: Task) -> str:
    """The split that a task's content belongs to."""
    place = stable_fraction(0, "split", task.key)
    for name, share in SPLITS.items():
        place -= share
        if place < 0:
            return name
    return next(reversed(SPLITS))  # where the shares sum to a little below 1


def draw_tasks(seed: int, split: str, purpose: str = "") -> Iterator[Task]:
    """Tasks of a split without end, kind after kind; some come more than once."""
    random = Random(f"{seed} {split} {purpose}")
    while True:
        for kind in KINDS:
            task = draw_task(random, kind)
            while split_of(task) != split:
                task = draw_task(random, kind)
            yield task


def _write(farm: Farm, name: str, rows: Iterator[dict[str, Any]]) -> int:
    lines = [to_line(row) + "\n" for row in rows]
    write_atomic(farm.out / f"{name}.jsonl", "".join(lines))
    return len(lines)


def _documents(farm: Farm, split: str, authors: tuple[Author, ...]) -> Iterator[dict[str, Any]]:
    """Prompts with an answer, each by an author of its own draw."""
    tasks, random = draw_tasks(farm.seed, split), Random(f"{farm.seed} {split} authors")
    for _ in range(getattr(farm, split)):
        task, author = next(tasks), random.choice(authors)
        answer = write_answer(random, task, author)
        yield {"prompt": task.prompt, "completion": answer, "author": author.name}


def _distinct(seed: int, split: str, purpose: str = "") -> Iterator[Task]:
    """Tasks of a split, no prompt twice; kinds with few contents come seldom once they are used up."""
    seen: set[str] = set()
    for task in draw_tasks(seed, split, purpose):
        if task.prompt not in seen:
            seen.add(task.prompt)
            yield task


def _prompts(farm: Farm, split: str) -> Iterator[dict[str, Any]]:
    seed = 0 if split in SHARED else farm.seed
    for number, task in zip(range(getattr(farm, split)), _distinct(seed, split), strict=False):
        yield {
            "id": f"{split}-{number:05d}",
            "prompt": task.prompt,
            "category": task.kind,
            "checks": task.checks,
            "gold_answer": write_answer(Random(task.prompt), task, GOLD),
        }


def _pairs(farm: Farm) -> Iterator[dict[str, Any]]:
    """Two distinct answers by demonstrators to each of some prompts of the preference split."""
    random = Random(f"{farm.seed} pairs")
    for _, task in zip(
        range(farm.pairs), _distinct(farm.seed, "preference", "pairs"), strict=False
    ):
        one = two = write_answer(random, task, random.choice(DEMONSTRATORS))
        while two == one:
            two = write_answer(random, task, random.choice(DEMONSTRATORS))
        texts = {"prompt": task.prompt, "output_1": one, "output_2": two}
        yield {**texts, "checks": task.checks}
