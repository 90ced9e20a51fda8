"""Best-of-n decoding: n samples a prompt, and the one that a reward model likes best is the answer.

    python -m train_baselines.best_of_n --model-name-or-path SFT --reward-model RM \\
        --dataset prompts.jsonl --n 16 --output answers.jsonl
    leaderboard eval answers.jsonl

Nothing is trained: out come answers files that `leaderboard eval` reads. Several n share their
samples (`--n 1 4 16 64` writes answers-1.jsonl and on), and the first samples of a larger n are
those of a smaller one. The defaults are AlpacaFarm's (arXiv:2305.14387; its README and decoding
script): n 16, temperature 1, top_p 0.9, 300 new tokens. Departures: the reward model sees whether
an answer ended or was cut off; it reads the text through its own tokenizer and chat template, as a
judge does, and so may be of another family. A killed run goes on behind the last prompt that it
had done.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from judges.errors import UserError
from judges.records import to_line, write_atomic
from train_baselines.models.loading import load_reference
from train_baselines.runtime.config import command_line
from train_baselines.runtime.run import Run
from train_baselines.sampling import decoding
from train_baselines.sampling.decoding import Asked, DecodingConfig
from train_baselines.sampling.sampler import BuiltIn
from train_baselines.sampling.selecting import Question, best_of, by_logprob


@dataclass(frozen=True, kw_only=True)
class BestOfNConfig(DecodingConfig):
    """Best-of-n decoding. Settings of a training other than their defaults are refused."""

    method: ClassVar[str] = "best_of_n"

    output: str
    """The answers file, .jsonl; with several n one each, FILE-N.jsonl."""
    score: Literal["reward", "logprob"] = "reward"
    """logprob chooses the likeliest sample under the policy itself: a control that needs no reward
    model."""
    n: tuple[int, ...] = (16,)
    """Samples to choose from; AlpacaFarm."""

    def check(self) -> None:
        if not self.n or min(self.n) < 1:
            raise UserError(f"n = {self.n}: whole numbers from 1 are needed")
        super().check()
        if self.score == "reward" and self.reward_model is None:
            raise UserError("reward_model: name one, or choose by --score logprob")
        if self.score == "logprob" and self.reward_model is not None:
            raise UserError("reward_model: with --score logprob none is asked")

    @property
    def samples(self) -> int:
        return max(self.n)

    @property
    def files(self) -> Sequence[Path]:
        return [self.file(n) for n in self.n]

    def file(self, n: int) -> Path:
        """The answers file for one n."""
        path = Path(self.output)
        return path if len(self.n) == 1 else path.with_name(f"{path.stem}-{n}.jsonl")


def train(config: BestOfNConfig) -> Path:
    """Write the answers, and give the folder that holds their rewards. Raises UserError."""
    run, config = decoding.start(config)
    sampler = decoding.open_sampler(config, run)
    scorer = decoding.open_scorer(config, run)
    if scorer is None:
        policy = (
            sampler.policy
            if isinstance(sampler, BuiltIn)
            else load_reference(config.model_name_or_path, config, run)
        )
        scorer = by_logprob(policy, tokens_per_device=config.tokens_per_device)
    asked = decoding.read_questions(config.dataset, sampler)
    named = _named(asked)

    def choices(questions: Sequence[Question]) -> Iterator[tuple[int, object]]:
        for number, found in best_of(
            sampler, questions, config.n, config.sampling(), scorer, seed=config.seed
        ):
            yield number, [
                {"n": c.n, "k": c.k, "score": c.score, "mean_score": c.mean,
                 **decoding.plain(c.candidate)}
                for c in found
            ]  # fmt: skip

    chosen = decoding.answer_all(run, config, sampler, asked, choices)
    if run.is_main:
        _write(run, config, asked, named, chosen)
    run.accelerator.wait_for_everyone()
    return config.output_dir


def _named(asked: Sequence[Asked]) -> list[dict[str, str]]:
    """What names each prompt in the answers file: its `instruction_id` or `id`, or its last turn.

    Raises UserError for two of one name, which an answers file cannot hold.
    """
    found: dict[str, dict[str, str]] = {}
    for one in asked:
        text = one.question.messages[-1].content
        given = one.row.get("instruction_id", one.row.get("id"))
        named = {"instruction": text} if given is None else {"instruction_id": str(given)}
        (name,) = named.values()
        if name in found:
            raise UserError(
                f"{one.question.where}: the prompt {name[:60]!r} stands in the file twice; give "
                "each an `id` of its own"
            )
        found[name] = named
    return [*found.values()]


def _write(
    run: Run,
    config: BestOfNConfig,
    asked: Sequence[Asked],
    named: Sequence[Mapping[str, str]],
    chosen: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """Writes the answers files, the rewards, and what there is to say of them."""
    by_n = {key: {choice["n"]: choice for choice in choices} for key, choices in chosen.items()}
    # A prompt that fills the window is answered by nothing, as `leaderboard eval` does it.
    none = {"k": None, "score": None, "mean_score": None, "output": "", "finish_reason": "length"}
    unanswered = sum(one.question.key not in by_n for one in asked)
    facts: dict[str, Any] = {"prompts": len(asked), "unanswered": unanswered}
    generator = Path(config.model_name_or_path).name
    by = "" if config.score == "reward" else "-by-logprob"
    rewards: list[str] = []
    for n in config.n:
        answers = []
        keys = [one.question.key for one in asked]
        held = [by_n.get(key, {}).get(n, none) for key in keys]
        for name, key, choice in zip(named, keys, held, strict=True):
            answer = {
                **name,
                "output": choice["output"],
                "generator": f"{generator}-best-of-{n}{by}",
                "finish_reason": choice["finish_reason"],
                "prompt": key,
            }
            answers.append(to_line(answer) + "\n")
            figures = {what: choice[what] for what in ("k", "score", "mean_score")}
            rewards.append(to_line({**name, "n": n, **figures}) + "\n")
        write_atomic(config.file(n), "".join(answers))
        best, mean = (_mean([one[key] for one in held]) for key in ("score", "mean_score"))
        facts[f"best of {n}"] = {"score": best, "mean_score": mean}
        shown = "no answer could be scored" if best is None else (
            f"{best:.4g} on average, where a sample has {mean:.4g}"
        )  # fmt: skip
        run.note(f"{config.file(n)}: the best of {n} by {config.score}: {shown}")
    write_atomic(config.output_dir / "rewards.jsonl", "".join(rewards))
    decoding.finish(config, facts)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    return command_line(BestOfNConfig, train, args)


if __name__ == "__main__":
    sys.exit(main())
