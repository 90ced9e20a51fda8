"""Answers that are drawn anew while a policy trains: by all processes together, round after round.

A round is the steps that learn from the same answers. These lie on disk until they are of no more
use, since a resumed run no longer has the policy that drew them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from judges.errors import UserError
from judges.records import read_records, to_line, validated
from train_baselines.data.sources import read_prompts
from train_baselines.models.loading import load_scalar_model
from train_baselines.models.wrapped import Policy
from train_baselines.runtime import storage
from train_baselines.runtime.config import RunConfig
from train_baselines.runtime.run import Run
from train_baselines.sampling.selecting import Question, Scorer, by_reward, question

T = TypeVar("T")

Draw = Callable[[Sequence[Question], int], Iterable[tuple[int, T]]]
"""Takes questions and a seed; gives the number of each question with what was drawn for it."""


def refuse_sharded(run: Run) -> None:
    """Raises UserError under FSDP."""
    if run.accelerator.distributed_type.value == "FSDP":
        raise UserError(
            f"{run.method} draws answers with whole weights, which FSDP does not hold: "
            "launch it under DDP"
        )


def load_scorer(path: str, config: RunConfig, run: Run) -> Scorer:
    """The scores of the reward model at `path`, which reads by its own template, whatever the
    policy's is: the one that it was trained with."""
    reward = load_scalar_model(path, replace(config, chat_template=None), run)
    return by_reward(reward, tokens_per_device=config.tokens_per_device)


def read_questions(policy: Policy, config: RunConfig, run: Run, new_tokens: int) -> list[Question]:
    """The prompts behind which so many new tokens have room; the others are counted and told."""
    every = [
        question(prompt.messages, policy.encoder, prompt.where)
        for prompt in read_prompts(config.dataset)
    ]
    room = config.max_length - new_tokens
    questions = [one for one in every if len(one.prompt) <= room]
    n_dropped, why = len(every) - len(questions), "prompts without room for max_new_tokens"
    run.note(
        f"{len(questions):,} prompts{f'; dropped {n_dropped:,}: {why}' if n_dropped else ''}",
        dropped={why: n_dropped} if n_dropped else {},
    )
    return questions


def round_of(step: int, total: int, *, rounds: int) -> range:
    """The steps of the round that this step is in, where `total` steps make so many rounds."""
    number = step * rounds // total
    return range(-(-number * total // rounds), -(-(number + 1) * total // rounds))


def drawn(
    run: Run, steps: range, questions: Sequence[Question], draw: Draw[T], kind: type[T]
) -> list[T]:
    """What is drawn for each of a round's questions, in their order; all processes have it all.

    `kind` is the dataclass that it is, as which it is read again.
    """
    from accelerate.utils import gather_object
    from tqdm import tqdm

    path = run.output / f"kept-round-{steps.start}" / "drawn.jsonl"
    asked = [one.key for one in questions]
    if path.is_file():
        lines = [(f"{path}, line {n}", line) for n, line in read_records(path)]
        if [line["prompt"] for _, line in lines] == asked:
            return [validated(kind, line["drawn"], where) for where, line in lines]
    mine = questions[run.rank :: run.world]
    shown = None if run.is_main else True
    found = tqdm(
        draw(mine, run.config.seed + (steps.start << 32)), "answers", len(mine), unit="prompt",
        disable=shown, leave=False,
    )  # fmt: skip
    own = [(place * run.world + run.rank, one) for place, one in found]
    every = [one for _, one in sorted(gather_object(own), key=lambda pair: pair[0])]
    if run.is_main:
        with storage.new_folder(path.parent) as draft:
            text = "".join(
                to_line({"prompt": key, "drawn": one}) + "\n"
                for key, one in zip(asked, every, strict=True)
            )
            (draft / path.name).write_text(text, encoding="utf-8")
        _remove_unneeded(run)
    run.accelerator.wait_for_everyone()
    return every


def _remove_unneeded(run: Run) -> None:
    """Removes the rounds that ended before the last checkpoint: no resumed run is in them."""
    last = storage.last_checkpoint(run.output)
    saved = 0 if last is None else int(last.name.removeprefix("step-"))
    starts = [int(p.name.removeprefix("kept-round-")) for p in run.output.glob("kept-round-*")]
    needed = max((start for start in starts if start <= saved), default=0)
    for start in starts:
        if start < needed:
            shutil.rmtree(run.output / f"kept-round-{start}")
