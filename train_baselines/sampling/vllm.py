"""Answers drawn by vLLM, from a policy that is not being trained.

The engine is that of `vllm/PATH` models (`judges.backends.vllm`), in processes that this one starts
and ends. Prompts reach it as token ids, and answers end at the tokens at which the built-in sampler
ends them: greedy answers are the same tokens but where two score the same to within rounding. Drawn
ones are others than the built-in sampler's: each has a seed of its own, the key of its draw, for
vLLM's own random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from judges.backends.spec import ModelSpec
from judges.backends.vllm import VllmLLM
from judges.errors import UserError
from train_baselines.data.examples import Encoder
from train_baselines.runtime.config import RunConfig
from train_baselines.runtime.run import Run
from train_baselines.sampling.sampler import Draw, Sample, Sampling, ends_of, limit_of


@dataclass(frozen=True, slots=True)
class VllmSampler:
    """A policy in vLLM. Use `open` to get one."""

    llm: VllmLLM
    encoder: Encoder

    @classmethod
    def open(cls, config: RunConfig, run: Run, args: Sequence[str]) -> VllmSampler:
        """The config's model, ready to draw; `args` are NAME=VALUE, as `vllm/PATH` models take them.

        Raises UserError for what is wrong with them or with the model's files, where vLLM is not
        installed, and for several processes: vLLM spreads over devices by itself.
        """
        if run.world > 1:
            raise UserError(
                "sampler vllm: start one process, without accelerate launch; vLLM itself uses "
                "several devices with --vllm-args tensor_parallel_size=N"
            )
        given = {"dtype": "bfloat16" if run.precision == "bf16" else "float32"}
        if config.chat_template is not None:
            given["chat_template"] = config.chat_template
        for pair in args:
            name, equals, value = pair.partition("=")
            if not equals:
                raise UserError(
                    f"vllm_args: {pair!r}: write NAME=VALUE, such as max_model_len=4096"
                )
            given[name] = value
        llm = VllmLLM.open(ModelSpec(spec=f"vllm/{config.model_name_or_path}", args=given))
        return cls(llm, Encoder(llm.tokenizer, llm.template))

    @property
    def window(self) -> int | None:
        return self.llm.window

    def sample(self, draws: Sequence[Draw], sampling: Sampling) -> list[Sample]:
        from vllm import SamplingParams

        ends = sorted(ends_of(self.encoder))
        params = [
            SamplingParams(
                max_tokens=limit_of(draw, sampling, self.window),
                min_tokens=sampling.min_new_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=draw.key,
                ignore_eos=True,  # those of the model's files; what ends an answer is said here
                stop_token_ids=ends,
                detokenize=False,
            )
            for draw in draws
        ]
        written = self.llm.generate([draw.prompt for draw in draws], params)
        return [Sample(tuple(one.tokens), one.stopped) for one in written]

    def close(self) -> None:
        self.llm.close()
