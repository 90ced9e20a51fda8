"""Models run by vLLM, in processes that this one starts and ends.

Prompts are rendered and encoded here and reach vLLM as token ids. A drawn answer has a seed of its
own, by the request's seed and id. vLLM's arithmetic depends on what else is in its batch: where two
tokens score the same to within rounding, the same request can get another answer.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from judges.backends.base import Completion, Request
from judges.backends.chat import ChatModel, Written, seed_for
from judges.backends.checkpoint import Checkpoint, find_checkpoint, read_object
from judges.backends.loading import check_causal, first_line, load_tokenizer, quiet
from judges.backends.spec import ModelSpec
from judges.errors import MissingExtraError, UserError
from judges.prompting.chat import choose_template

# Arguments that go to vLLM's engine as they are, and what they are made of.
_ENGINE: dict[str, Callable[[str], Any]] = {
    "dtype": str,
    "gpu_memory_utilization": float,
    "max_model_len": int,
    "tensor_parallel_size": int,
}
ARGS = (*_ENGINE, "adapter", "batch_size", "chat_template", "system_prompt")
EXTRA = ("frequency_penalty", "min_p", "min_tokens", "presence_penalty")
"""Parameters of a request beside its sampling, as vLLM names them."""
_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
BATCH_SIZE = 512
"""Requests handed over at once; vLLM itself decides how many of them it runs side by side."""


@dataclass(slots=True, kw_only=True)
class VllmLLM(ChatModel):
    """A causal language model in vLLM. Use `open` to get one."""

    engine: Any
    """A vllm.LLM."""
    max_tokens: int
    """Tokens that prompt and answer can have together."""
    lora: Any = None

    @classmethod
    def open(cls, spec: ModelSpec) -> Self:
        """The model `vllm/PATH` or `vllm/ORG/NAME[@REVISION]`, ready to answer.

        `spec.args` are those of ARGS; see `find_checkpoint` for the files. Raises UserError for
        what is wrong with them, and where vLLM cannot run the model.
        """
        if unknown := sorted(set(spec.args) - set(ARGS)):
            raise UserError(
                f"{spec.spec}: unknown argument {unknown[0]!r}; known: {', '.join(sorted(ARGS))}"
            )
        given = {name: _parsed(spec, name, kind) for name, kind in _ENGINE.items()}
        batch_size = _parsed(spec, "batch_size", int) or BATCH_SIZE
        for package in ("vllm", "torch", "transformers", "safetensors", "jinja2"):
            if find_spec(package) is None:
                raise MissingExtraError(package, "vllm")
        path, revision = spec.name, ""
        if not Path(path).is_dir():
            path, _, revision = path.partition("@")
        checkpoint = find_checkpoint(
            path, revision=revision or None, adapter=spec.args.get("adapter")
        )
        check_causal(checkpoint.folder)
        with quiet():
            tokenizer = load_tokenizer(checkpoint.tokenizer)
        template = choose_template(
            tokenizer,
            choice=spec.args.get("chat_template"),
            system_prompt=spec.args.get("system_prompt"),
        )
        engine = _start(checkpoint, {k: v for k, v in given.items() if v is not None})
        config = engine.llm_engine.model_config
        own = checkpoint.folder / "generation_config.json"
        generation = read_object(own) if own.is_file() else {}
        eos = generation.get("eos_token_id", getattr(config.hf_config, "eos_token_id", None))
        return cls(
            tokenizer=tokenizer,
            template=template,
            parts={
                **checkpoint.fingerprint(),
                "template": template.digest(),
                "dtype": str(config.dtype).removeprefix("torch."),
                "engine": f"vllm {_version()}",
            },
            generation=generation,
            model_eos=eos if isinstance(eos, list) else [] if eos is None else [eos],
            batch_size=batch_size,
            engine=engine,
            max_tokens=config.max_model_len,
            lora=_lora(checkpoint),
        )

    @property
    def settings(self) -> Mapping[str, str | None]:
        """What was chosen at loading, for people to read."""
        return {
            "chat_template": self.template.source,
            "system_prompt": self.template.system_prompt,
            "dtype": self.parts["dtype"],
            "engine": self.parts["engine"],
        }

    @property
    def window(self) -> int | None:
        return self.max_tokens

    def complete_batch(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion a request, in the same order.

        A prompt that fills the window is not cut: its completion is empty and ends with `length`.
        Log-probabilities are those of the model itself, before temperature and penalties. A model
        that is held to a schema does not think first. Raises UserError for what vLLM refuses.
        """
        prompts = [self.prompt_of(request) for request in requests]
        live, params = [], []
        for n, (request, (_, ids)) in enumerate(zip(requests, prompts, strict=True)):
            if limit := self.limit(request, len(ids)):
                live.append(n)
                params.append(self._params(request, limit))
        written = dict(zip(live, self.generate([prompts[n][1] for n in live], params), strict=True))
        completions = []
        for n, (request, (prompt, ids)) in enumerate(zip(requests, prompts, strict=True)):
            inside = prompt if request.schema is None else ""
            completions.append(self.completion(inside, len(ids), written.get(n, Written())))
        return completions

    def close(self) -> None:
        """End vLLM's processes, which frees their memory; the model is not used afterwards."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self.engine.llm_engine.engine_core.shutdown()
        self.engine = self.lora = None
        gc.collect()
        cleanup_dist_env_and_memory()

    def _params(self, request: Request, limit: int) -> Any:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMValidationError
        from vllm.sampling_params import StructuredOutputsParams

        if unknown := sorted(set(request.extra) - set(EXTRA)):
            raise UserError(
                f"extra: a model of vLLM has no parameter {unknown[0]!r}; known: {', '.join(EXTRA)}"
            )
        held = None
        if request.schema is not None:
            held = StructuredOutputsParams(json=json.dumps(request.schema))
        stops = list(self.template.stops)
        try:
            return SamplingParams(
                max_tokens=limit,
                temperature=self.temperature(request),
                top_p=self.setting(request, "top_p", 1.0),
                top_k=int(self.setting(request, "top_k", 0)),
                repetition_penalty=self.setting(request, "repetition_penalty", 1.0),
                seed=abs(seed_for(request.sampling.seed or 0, request.id) >> 1),
                stop=stops,
                stop_token_ids=sorted(self.eos),
                logprobs=request.top_logprobs or None,
                detokenize=bool(stops),  # its text is only needed to find a stop text in it
                skip_special_tokens=False,
                structured_outputs=held,
                **request.extra,
            )
        except (ValueError, TypeError, VLLMValidationError) as error:
            raise UserError(f"vLLM refuses a parameter: {first_line(error)}") from None

    def generate(self, prompts: Sequence[Sequence[int]], params: Sequence[Any]) -> list[Written]:
        from vllm.exceptions import VLLMValidationError
        from vllm.v1.engine.exceptions import EngineDeadError

        if not prompts:
            return []
        try:
            outputs = self.engine.generate(
                [{"prompt_token_ids": list(ids)} for ids in prompts],
                list(params),
                use_tqdm=False,
                lora_request=self.lora,
            )
        except EngineDeadError:
            raise UserError(
                "vLLM's engine has stopped; what it said stands above. Where memory was short, "
                "lower gpu_memory_utilization or max_model_len"
            ) from None
        except (ValueError, VLLMValidationError) as error:
            raise UserError(f"vLLM refuses a request: {first_line(error)}") from None
        return [
            _written(output.outputs[0], one.logprobs)
            for output, one in zip(outputs, params, strict=True)
        ]


def _written(output: Any, count: int | None) -> Written:
    likeliest = [
        # vLLM lists the token that was drawn as well, where it is none of the likeliest.
        sorted(((n, one.logprob) for n, one in place.items()), key=lambda pair: -pair[1])[:count]
        for place in (output.logprobs or ())
    ]
    return Written(
        tokens=list(output.token_ids),
        stopped=output.finish_reason == "stop",
        likeliest=likeliest,
    )


def _start(checkpoint: Checkpoint, given: Mapping[str, Any]) -> Any:
    """The engine, loaded. What vLLM reads from the environment is set before it is imported."""
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # it would report its use to its makers
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm import LLM

    lora = {}
    if checkpoint.adapter is not None:
        rank = int(read_object(checkpoint.adapter / "adapter_config.json").get("r", 0))
        fitting = [size for size in _LORA_RANKS if size >= rank]
        if not fitting:
            raise UserError(f"{checkpoint.adapter}: vLLM runs no adapter of rank {rank}")
        lora = {"enable_lora": True, "max_lora_rank": fitting[0]}
    try:
        return LLM(
            str(checkpoint.folder),
            tokenizer=str(checkpoint.tokenizer),
            trust_remote_code=False,
            load_format="safetensors",
            use_tqdm_on_load=False,
            **lora,
            **given,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"{checkpoint.folder}: vLLM cannot run it ({first_line(error)}). Where memory is short, "
            "lower gpu_memory_utilization or max_model_len"
        ) from None


def _lora(checkpoint: Checkpoint) -> Any:
    if checkpoint.adapter is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest("adapter", 1, str(checkpoint.adapter))


def _version() -> str:
    import vllm

    return str(vllm.__version__)


def _parsed(spec: ModelSpec, name: str, kind: Callable[[str], Any]) -> Any:
    """An argument's value, None where it is not given; raises UserError."""
    text = spec.args.get(name)
    if text is None:
        return None
    try:
        value = kind(str(text))
    except ValueError:
        value = -1
    if not isinstance(value, str) and value <= 0:
        raise UserError(f"{spec.spec}: {name}={text}: a positive number is needed")
    return value
