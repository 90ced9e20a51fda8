"""What the methods share that train nothing: prompts go in, answers are kept as they come, a file
comes out.

The prompts are dealt to the processes. What was drawn for a prompt is a line in the run's folder as
soon as it is there, so that a killed run goes on behind the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from judges.errors import UserError
from judges.records import Appender, read_records
from train_baselines.data.sources import read_prompts
from train_baselines.models.loading import load_reference
from train_baselines.runtime import folder, storage
from train_baselines.runtime.config import RunConfig
from train_baselines.runtime.run import Run
from train_baselines.sampling.rounds import load_scorer
from train_baselines.sampling.sampler import BuiltIn, Sampler, Sampling
from train_baselines.sampling.selecting import Candidate, Question, Scorer, question
from train_baselines.sampling.vllm import VllmSampler

_USED = (
    "model_name_or_path", "dataset", "output_dir", "overwrite", "seed", "chat_template",
    "tokens_per_device", "precision", "attn_implementation",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DecodingConfig(RunConfig):
    """What decoding methods share. Settings of a training other than their defaults are refused."""

    full_learning_rate: ClassVar[float] = 1.0  # nothing is trained
    method: ClassVar[str]

    output: str
    """The file to write, .jsonl."""
    output_dir: Path = Path()
    """What resuming needs, and what the run found; unset it is FILE.run, beside the output."""
    reward_model: str | None = None
    """A sequence classifier with one label: a folder, or ORG/NAME[@REVISION] on the Hub."""
    temperature: float = 1.0
    """AlpacaFarm. 0 takes the likeliest token, and then there is but one sample."""
    top_p: float = 0.9
    """AlpacaFarm's decoding."""
    max_new_tokens: int = 300
    """AlpacaFarm."""
    sampler: Literal["built_in", "vllm"] = "built_in"
    """vllm draws other samples than the built-in one, each from a seed of its own."""
    vllm_args: tuple[str, ...] = ()
    """NAME=VALUE for vLLM: dtype, gpu_memory_utilization, max_model_len, tensor_parallel_size."""

    def check(self) -> None:
        super().check()
        for field in fields(RunConfig):
            if field.name not in _USED and getattr(self, field.name) != field.default:
                raise UserError(
                    f"{field.name}: {self.method} trains nothing, and has no use for it"
                )
        if Path(self.output).suffix != ".jsonl":
            raise UserError(f"output = {self.output}: a file that ends in .jsonl is needed")
        if self.temperature == 0 and self.samples > 1:
            raise UserError(
                f"n = {self.samples}: at temperature 0 all samples are one; set --n 1, or a "
                "temperature above 0"
            )
        if self.vllm_args and self.sampler != "vllm":
            raise UserError("vllm_args: they go with --sampler vllm")
        self.sampling()

    @property
    def samples(self) -> int:
        """Samples of each prompt."""
        raise NotImplementedError

    @property
    def files(self) -> Sequence[Path]:
        """The files that come out."""
        return [Path(self.output)]

    def sampling(self) -> Sampling:
        """How the samples are drawn."""
        return Sampling(
            max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p
        )


C = TypeVar("C", bound=DecodingConfig)


@dataclass(frozen=True, slots=True)
class Asked:
    """A row of the data set: the question in it, and all its columns."""

    question: Question
    row: Mapping[str, Any]


def start(config: C) -> tuple[Run, C]:
    """The run, and the config with its folder. Raises UserError for files that are no such run's,
    unless they may be replaced."""
    config.check()
    if config.output_dir == Path():
        config = replace(config, output_dir=Path(config.output).with_suffix(".run"))
    run = Run(config.method, config)
    if not config.overwrite and storage.read_run(config.output_dir) is None:
        for path in config.files:
            if path.exists():
                raise UserError(
                    f"{path} is there already: choose another --output, or replace it with "
                    "--overwrite True"
                )
    run.accelerator.wait_for_everyone()
    return run, config


def open_sampler(config: DecodingConfig, run: Run) -> Sampler:
    """What draws from the policy. vLLM takes its memory first, then what scores beside it."""
    if config.sampler == "vllm":
        return VllmSampler.open(config, run, config.vllm_args)
    policy = load_reference(config.model_name_or_path, config, run)
    return BuiltIn(policy, config.tokens_per_device)


def open_scorer(config: DecodingConfig, run: Run) -> Scorer | None:
    """The reward model, where there is one."""
    return None if config.reward_model is None else load_scorer(config.reward_model, config, run)


def read_questions(source: str, sampler: Sampler) -> list[Asked]:
    """The prompts of a data set as the policy reads them."""
    return [
        Asked(question(prompt.messages, sampler.encoder, prompt.where), prompt.row)
        for prompt in read_prompts(source)
    ]


def answer_all(
    run: Run,
    config: DecodingConfig,
    sampler: Sampler,
    asked: Sequence[Asked],
    answer: Callable[[Sequence[Question]], Iterator[tuple[int, object]]],
) -> dict[str, Any]:
    """What `answer` gives for each prompt, by the prompt's key, in this run and before it was killed.

    `answer` takes questions, each of which is asked once, and gives their numbers and something that
    JSON holds. A prompt that fills the policy's window gets nothing: it is counted and told.
    """
    from tqdm import tqdm

    fitting = {
        one.question.key: one.question
        for one in asked
        if sampler.window is None or len(one.question.prompt) < sampler.window
    }
    done = _read_kept(config.output_dir)
    left = [question for key, question in fitting.items() if key not in done]
    run.accelerator.wait_for_everyone()  # all have read what was done, before any goes on
    if run.is_main:
        described = folder.describe(config.method, config, {})
        storage.write_run(config.output_dir, {**described, "finished": False})
    run.note(
        f"{len(asked):,} prompts, {len(left):,} of them to be answered: {config.samples:,} samples "
        "each"
    )
    mine = left[run.rank :: run.world]
    shown = None if run.is_main else True
    answers = tqdm(answer(mine), config.method, len(mine), unit="prompt", disable=shown)
    try:
        with Appender(_kept(config.output_dir) / f"rank-{run.rank}.jsonl") as file:
            for number, found in answers:
                file.append({"prompt": mine[number].key, "answer": found})
    finally:
        sampler.close()
    run.accelerator.wait_for_everyone()
    if unanswered := sum(one.question.key not in fitting for one in asked):
        run.note(f"prompts that fill the policy's window, answered by nothing: {unanswered:,}")
    return _read_kept(config.output_dir)


def _kept(output: Path) -> Path:
    return output / "kept-answers"


def _read_kept(output: Path) -> dict[str, Any]:
    return {
        line["prompt"]: line["answer"]
        for path in sorted(_kept(output).glob("rank-*.jsonl"))
        for _, line in read_records(path, allow_torn=True)
    }


def plain(candidate: Candidate) -> dict[str, Any]:
    """A sample as a line of a file holds it."""
    ended = candidate.sample.ended
    return {"output": candidate.text, "finish_reason": "stop" if ended else "length"}


def finish(config: DecodingConfig, facts: Mapping[str, Any]) -> None:
    """Marks the run as finished, and removes what only resuming needs."""
    described = folder.describe(config.method, config, facts)
    storage.write_run(config.output_dir, {**described, "finished": True})
    folder.remove_scaffold(config.output_dir)
