"""Samples of a policy: n answers to every prompt, to be judged, or to be learnt from by their rank.

    python -m train_baselines.generate --model-name-or-path SFT --dataset prompts.jsonl --n 2 \\
        --output samples.jsonl
    leaderboard annotate samples.jsonl --multi --panel PANEL

Nothing is trained. A line is a sample: the row of its prompt with all that stood in it, such as
`checks` and `id`, and `output` beside. With `--reward-model RM` each has a `score`, and with `--form
candidates` a line is a prompt instead: `query`, `responses` and `scores`, from the first sample to
the last, as RRHF reads them. The samples are those of `best_of_n` with the same seed; two of
temperature 1 are what AlpacaFarm (arXiv:2305.14387) has compared. `--temperature 0 --n 1` gives the
policy's greedy answers. A killed run goes on behind the last prompt that it had done.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from judges.errors import UserError
from judges.records import to_line, write_atomic
from train_baselines.data.sources import PROMPT_COLUMNS
from train_baselines.runtime.config import command_line
from train_baselines.runtime.run import Run
from train_baselines.sampling import decoding
from train_baselines.sampling.decoding import Asked, DecodingConfig
from train_baselines.sampling.selecting import Question, drawn


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(DecodingConfig):
    """Samples of a policy. Settings of a training other than their defaults are refused."""

    method: ClassVar[str] = "generate"

    form: Literal["samples", "candidates"] = "samples"
    """A line is a sample, or all samples of a prompt with their scores."""
    n: int = 2
    """Samples of each prompt; AlpacaFarm compares two."""

    def check(self) -> None:
        if self.n < 1:
            raise UserError(f"n = {self.n}: at least 1 is needed")
        super().check()
        if self.form == "candidates" and self.reward_model is None:
            raise UserError("reward_model: candidates have scores; name one, or --form samples")

    @property
    def samples(self) -> int:
        return self.n


def train(config: GenerateConfig) -> Path:
    """Write the samples, and give the folder of the run. Raises UserError."""
    run, config = decoding.start(config)
    sampler = decoding.open_sampler(config, run)
    scorer = decoding.open_scorer(config, run)
    asked = decoding.read_questions(config.dataset, sampler)
    for one in asked:
        _check_columns(one)
    if doubled := len(asked) - len({one.question.key for one in asked}):
        run.note(f"prompts that stand there already, and get the same samples: {doubled:,}")

    def samples(questions: Sequence[Question]) -> Iterator[tuple[int, object]]:
        found: list[dict[str, Any]] = []
        for number, k, candidate, score in drawn(
            sampler, questions, config.n, config.sampling(), scorer, seed=config.seed
        ):
            known = score if math.isfinite(score) else None
            found.append({**decoding.plain(candidate), "k": k, "score": known})
            if k == config.n - 1:
                yield number, found
                found = []

    held = decoding.answer_all(run, config, sampler, asked, samples)
    if run.is_main:
        _write(run, config, asked, held)
    run.accelerator.wait_for_everyone()
    return config.output_dir


def _check_columns(one: Asked) -> None:
    try:
        to_line(one.row)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{one.question.where}: a column cannot be carried over, since JSON does not hold it "
            f"({error}): leave it out"
        ) from None


def _write(
    run: Run,
    config: GenerateConfig,
    asked: Sequence[Asked],
    held: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """Writes the file, and says what is in it."""
    answered = [(one, held[one.question.key]) for one in asked if one.question.key in held]
    every = [sample for _, samples in answered for sample in samples]
    lines = []
    for one, samples in answered:
        if config.form == "samples":
            lines += [{**_carried(one), **_shown(config, sample)} for sample in samples]
        elif scored := [sample for sample in samples if sample["score"] is not None]:
            lines.append(
                {
                    **{k: v for k, v in one.row.items() if k not in (*PROMPT_COLUMNS, "input")},
                    "query": turns[0]["content"] if len(turns := _turns(one)) == 1 else turns,
                    "responses": [sample["output"] for sample in scored],
                    "scores": [sample["score"] for sample in scored],
                }
            )
    if not lines:
        raise UserError(f"{config.dataset}: no prompt has a sample that can be written")
    write_atomic(Path(config.output), "".join(to_line(line) + "\n" for line in lines))
    facts: dict[str, Any] = {"prompts": len(asked), "unanswered": len(asked) - len(answered)}
    cut = sum(sample["finish_reason"] == "length" for sample in every)
    told = f"{config.output}: {len(every):,} samples, {cut:,} of them cut off"
    if config.reward_model is not None:
        scores = [sample["score"] for sample in every if sample["score"] is not None]
        facts["unscored"] = len(every) - len(scores)
        facts["score"] = sum(scores) / len(scores) if scores else None
        told += f", mean score {facts['score']:.4g}" if scores else ""
        if facts["unscored"]:
            told += f"; {facts['unscored']:,} do not fit the reward model and have no score"
    run.note(told)
    decoding.finish(config, {**facts, "samples": len(every), "cut_off": cut})


def _shown(config: GenerateConfig, sample: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in sample.items() if k != "score" or config.reward_model is not None}


def _carried(one: Asked) -> dict[str, Any]:
    """The row's columns; of a conversation that ends with an answer, what stands before it."""
    column = next(name for name in PROMPT_COLUMNS if one.row.get(name) is not None)
    given = one.row[column]
    return {**one.row, column: given if isinstance(given, str) else _turns(one)}


def _turns(one: Asked) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in one.question.messages]


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    return command_line(GenerateConfig, train, args)


if __name__ == "__main__":
    sys.exit(main())
