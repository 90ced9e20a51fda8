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
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from judges.errors import UserError
from judges.records import Appender, read_records, to_line, write_atomic
from train_baselines.loading import load_reference, load_scalar_model
from train_baselines.runtime import folder, storage
from train_baselines.runtime.config import RunConfig, command_line
from train_baselines.runtime.run import Run
from train_baselines.sampling import Sampling
from train_baselines.selecting import (
    Choice,
    Question,
    best_of,
    by_logprob,
    by_reward,
    question,
    window_of,
)
from train_baselines.sources import read_prompts, rows_of

_USED = (
    "model_name_or_path", "dataset", "output_dir", "overwrite", "seed", "chat_template",
    "tokens_per_device", "precision", "attn_implementation",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BestOfNConfig(RunConfig):
    """Best-of-n decoding. Settings of a training other than their defaults are refused."""

    full_learning_rate: ClassVar[float] = 1.0  # nothing is trained

    output: str
    """The answers file, .jsonl; with several n one each, FILE-N.jsonl."""
    output_dir: Path = Path()
    """What resuming needs, and the rewards; unset it is FILE.run, beside the answers."""
    reward_model: str | None = None
    """A sequence classifier with one label: a folder, or ORG/NAME[@REVISION] on the Hub."""
    score: Literal["reward", "logprob"] = "reward"
    """logprob chooses the likeliest sample under the policy itself: a control that needs no reward
    model."""
    n: tuple[int, ...] = (16,)
    """Samples to choose from; AlpacaFarm."""
    temperature: float = 1.0
    """AlpacaFarm."""
    top_p: float = 0.9
    """AlpacaFarm's decoding."""
    max_new_tokens: int = 300
    """AlpacaFarm."""

    def check(self) -> None:
        super().check()
        for field in fields(RunConfig):
            if field.name not in _USED and getattr(self, field.name) != field.default:
                raise UserError(f"{field.name}: best_of_n trains nothing, and has no use for it")
        if not self.n or min(self.n) < 1:
            raise UserError(f"n = {self.n}: whole numbers from 1 are needed")
        if self.score == "reward" and self.reward_model is None:
            raise UserError("reward_model: name one, or choose by --score logprob")
        if self.score == "logprob" and self.reward_model is not None:
            raise UserError("reward_model: with --score logprob none is asked")
        if Path(self.output).suffix != ".jsonl":
            raise UserError(f"output = {self.output}: a file that ends in .jsonl is needed")
        self.sampling()

    def sampling(self) -> Sampling:
        """How the samples are drawn."""
        return Sampling(
            max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p
        )

    def file(self, n: int) -> Path:
        """The answers file for one n."""
        path = Path(self.output)
        return path if len(self.n) == 1 else path.with_name(f"{path.stem}-{n}.jsonl")


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt of the data set, and what names it in the answers file."""

    question: Question
    named: dict[str, str]


def train(config: BestOfNConfig) -> Path:
    """Write the answers, and give the folder that holds their rewards. Raises UserError."""
    config.check()
    if config.output_dir == Path():
        config = replace(config, output_dir=Path(config.output).with_suffix(".run"))
    run = Run("best_of_n", config)
    output = config.output_dir
    _claim(config)
    run.accelerator.wait_for_everyone()
    policy = load_reference(config.model_name_or_path, config, run)
    if config.reward_model is None:
        scorer = by_logprob(policy, tokens_per_device=config.tokens_per_device)
    else:
        # Its own template, whatever the policy's is: the one that it was trained with.
        reward = load_scalar_model(config.reward_model, replace(config, chat_template=None), run)
        scorer = by_reward(reward, tokens_per_device=config.tokens_per_device)

    asked = _read(config.dataset, policy.encoder)
    window = window_of(policy)
    fitting = {
        one.question.key: one.question
        for one in asked
        if window is None or len(one.question.prompt) < window
    }
    done = _read_chosen(output)
    left = [question for key, question in fitting.items() if key not in done]
    run.accelerator.wait_for_everyone()  # all have read what was done, before any goes on
    if run.is_main:
        storage.write_run(output, {**folder.describe("best_of_n", config, {}), "finished": False})
    run.note(
        f"{len(asked):,} prompts, {len(left):,} of them to be answered: {max(config.n):,} samples "
        f"each, chosen by {config.score}"
    )
    mine = left[run.rank :: run.world]
    chosen = best_of(
        policy, mine, config.n, config.sampling(), scorer,
        seed=config.seed, tokens_per_device=config.tokens_per_device,
    )  # fmt: skip
    from tqdm import tqdm

    bar = tqdm(chosen, "best_of_n", len(mine), unit="prompt", disable=None if run.is_main else True)
    with Appender(output / "kept-chosen" / f"rank-{run.rank}.jsonl") as file:
        for number, choices in bar:
            file.append({"prompt": mine[number].key, "choices": [_plain(one) for one in choices]})
    run.accelerator.wait_for_everyone()
    if run.is_main:
        _finish(run, config, asked)
    run.accelerator.wait_for_everyone()
    return output


def _claim(config: BestOfNConfig) -> None:
    """Raises UserError for answers files that are no such run's, unless they may be replaced."""
    if config.overwrite or storage.read_run(config.output_dir) is not None:
        return
    for n in config.n:
        if (path := config.file(n)).exists():
            raise UserError(
                f"{path} is there already: choose another --output, or replace it with "
                "--overwrite True"
            )


def _read(source: str, encoder: Any) -> list[Asked]:
    """The prompts, each named by its `instruction_id` or `id`, or by its last turn.

    Raises UserError for two of one name, which an answers file cannot hold.
    """
    ids = [row.get("instruction_id", row.get("id")) for _, row in rows_of(source)]
    found: dict[str, Asked] = {}
    for given, prompt in zip(ids, read_prompts(source), strict=True):
        text = prompt.messages[-1].content
        named = {"instruction": text} if given is None else {"instruction_id": str(given)}
        (name,) = named.values()
        if name in found:
            raise UserError(
                f"{prompt.where}: the prompt {name[:60]!r} stands in the file twice; give each an "
                "`id` of its own"
            )
        found[name] = Asked(question(prompt.messages, encoder, prompt.where), named)
    return [*found.values()]


def _plain(choice: Choice) -> dict[str, Any]:
    """A choice as a line of the run's own file holds it."""
    one = choice.candidate
    return {
        "n": choice.n,
        "k": choice.k,
        "score": choice.score,
        "mean_score": choice.mean,
        "output": one.text,
        "finish_reason": "stop" if one.sample.ended else "length",
    }


def _read_chosen(output: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """What was chosen for each prompt, by n, in this run and before it was killed."""
    return {
        line["prompt"]: {choice["n"]: choice for choice in line["choices"]}
        for path in sorted((output / "kept-chosen").glob("rank-*.jsonl"))
        for _, line in read_records(path, allow_torn=True)
    }


def _finish(run: Run, config: BestOfNConfig, asked: Sequence[Asked]) -> None:
    """Writes the answers files, the rewards, and what there is to say of them."""
    chosen = _read_chosen(config.output_dir)
    # A prompt that fills the window is answered by nothing, as `leaderboard eval` does it.
    none = {"k": None, "score": None, "mean_score": None, "output": "", "finish_reason": "length"}
    unanswered = sum(one.question.key not in chosen for one in asked)
    if unanswered:
        run.note(f"prompts that fill the policy's window, answered by nothing: {unanswered:,}")
    facts: dict[str, Any] = {"prompts": len(asked), "unanswered": unanswered}
    generator = Path(config.model_name_or_path).name
    by = "" if config.score == "reward" else "-by-logprob"
    rewards: list[str] = []
    for n in config.n:
        answers = []
        held = [(one, chosen.get(one.question.key, {}).get(n, none)) for one in asked]
        for one, choice in held:
            answer = {
                **one.named,
                "output": choice["output"],
                "generator": f"{generator}-best-of-{n}{by}",
                "finish_reason": choice["finish_reason"],
                "prompt": one.question.key,
            }
            answers.append(to_line(answer) + "\n")
            figures = {key: choice[key] for key in ("k", "score", "mean_score")}
            rewards.append(to_line({**one.named, "n": n, **figures}) + "\n")
        write_atomic(config.file(n), "".join(answers))
        best, mean = (_mean([choice[key] for _, choice in held]) for key in ("score", "mean_score"))
        facts[f"best of {n}"] = {"score": best, "mean_score": mean}
        shown = "no answer could be scored" if best is None else (
            f"{best:.4g} on average, where a sample has {mean:.4g}"
        )  # fmt: skip
        run.note(f"{config.file(n)}: the best of {n} by {config.score}: {shown}")
    write_atomic(config.output_dir / "rewards.jsonl", "".join(rewards))
    described = folder.describe("best_of_n", config, facts)
    storage.write_run(config.output_dir, {**described, "finished": True})
    folder.remove_scaffold(config.output_dir)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def main(args: Sequence[str] | None = None) -> int:
    """The command line."""
    return command_line(BestOfNConfig, train, args)


if __name__ == "__main__":
    sys.exit(main())
