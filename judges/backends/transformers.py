"""Hugging Face models in this process: a folder, a name on the Hub, or an adapter on either.

An answer depends on its own request only: not on its batch, and not on the order of requests. Only
where two tokens score the same to within rounding can another batch size choose the other one.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from judges.backends.base import Completion, OutOfMemory, Request
from judges.backends.chat import ChatModel, Written
from judges.backends.checkpoint import find_checkpoint, read_object
from judges.backends.loading import (
    check_causal,
    check_dtype,
    find_device,
    is_out_of_memory,
    load_model,
    load_tokenizer,
    quiet,
)
from judges.errors import MissingExtraError, UserError
from judges.prompting.chat import choose_template


def refuse_unknown(request: Request) -> None:
    """Raises UserError for what a model of transformers cannot do."""
    if request.schema is not None:
        raise UserError(
            'transformers cannot hold a model to a JSON schema: set form = "text" for the judge, '
            "or run the model as vllm/PATH"
        )
    if request.extra:
        raise UserError(
            f"extra: a model of transformers has no parameter {sorted(request.extra)[0]!r}; take "
            "it out"
        )


@dataclass(slots=True, kw_only=True)
class TransformersLLM(ChatModel):
    """A causal language model with its tokenizer and chat template. Use `load` to get one."""

    model: Any

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        revision: str | None = None,
        adapter: str | Path | None = None,
        dtype: str = "auto",
        device: str = "auto",
        batch_size: int = 16,
        chat_template: str | Path | None = None,
        system_prompt: str | None = None,
    ) -> Self:
        """The model at `path` (see `find_checkpoint`), ready to answer.

        `dtype` auto is the checkpoint's own, but float32 on a CPU, where half precision is slow and
        coarse. `device` auto is the first GPU, else the CPU. `chat_template` as in
        `choose_template`. Raises UserError for everything that is wrong with the files.
        """
        for package in ("torch", "transformers", "safetensors", "jinja2"):
            if find_spec(package) is None:
                raise MissingExtraError(package, "local")
        check_dtype(dtype)
        where = find_device(device)
        checkpoint = find_checkpoint(path, revision=revision, adapter=adapter)
        if checkpoint.adapter is not None and find_spec("peft") is None:
            raise MissingExtraError("peft", "local")
        check_causal(checkpoint.folder)
        with quiet():
            tokenizer = load_tokenizer(checkpoint.tokenizer)
            template = choose_template(tokenizer, choice=chat_template, system_prompt=system_prompt)
            model = load_model(checkpoint, dtype, where)
        own = checkpoint.folder / "generation_config.json"
        eos = model.generation_config.eos_token_id
        return cls(
            model=model,
            tokenizer=tokenizer,
            template=template,
            parts={
                **checkpoint.fingerprint(),
                "template": template.digest(),
                "dtype": str(model.dtype).removeprefix("torch."),
            },
            generation=read_object(own) if own.is_file() else {},
            model_eos=eos if isinstance(eos, list) else [] if eos is None else [eos],
            batch_size=batch_size,
        )

    @property
    def settings(self) -> dict[str, str | None]:
        """What was chosen at loading, for people to read."""
        return {
            "chat_template": self.template.source,
            "system_prompt": self.template.system_prompt,
            "dtype": self.parts["dtype"],
            "device": str(self.model.device),
        }

    @property
    def window(self) -> int | None:
        """Tokens that fit into the model, prompt and answer together; None for no limit."""
        config = self.model.config.get_text_config()
        names = ("max_position_embeddings", "n_positions", "max_seq_len")
        found = (getattr(config, name, None) for name in names)
        return next((size for size in found if isinstance(size, int) and size > 0), None)

    def close(self) -> None:
        """Free the memory; the model is not used afterwards."""
        import torch

        self.model = self.tokenizer = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def complete_batch(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion a request, in the same order; raises OutOfMemory.

        A prompt that fills the model's window is not cut: its completion is empty and ends with
        `length`. Log-probabilities are those of the model itself, before temperature and
        penalties. Raises UserError when the tokenizer is not the model's, and for what this
        backend cannot do: hold a reply to a schema, obey parameters of other providers.
        """
        for request in requests:
            refuse_unknown(request)
        prompts = [self.prompt_of(request) for request in requests]
        limits = [self.limit(r, len(ids)) for r, (_, ids) in zip(requests, prompts, strict=True)]
        live = [n for n, limit in enumerate(limits) if limit > 0]
        written = [Written()] * len(requests)
        if live:
            answers = self._generate(
                [requests[n] for n in live],
                [prompts[n][1] for n in live],
                [limits[n] for n in live],
            )
            for n, answer in zip(live, answers, strict=True):
                written[n] = answer
        return [
            self.completion(prompt, len(ids), one)
            for (prompt, ids), one in zip(prompts, written, strict=True)
        ]

    def _generate(
        self, requests: Sequence[Request], prompts: Sequence[list[int]], limits: Sequence[int]
    ) -> list[Written]:
        import torch

        rows = self.model.get_input_embeddings().num_embeddings
        for request, ids in zip(requests, prompts, strict=True):
            if max(ids, default=0) >= rows:  # on a GPU this would end the process
                raise UserError(
                    f"prompt {request.id!r} has token {max(ids)}, but the model knows {rows} "
                    "tokens: the tokenizer is that of another model"
                )
        problem = None
        try:
            with quiet(), torch.inference_mode():
                return self._run(requests, prompts, limits)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            problem = str(error)
        # Outside of the handler, whose traceback keeps the tensors of the failed batch alive.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise OutOfMemory(problem)

    def _run(
        self, requests: Sequence[Request], prompts: Sequence[list[int]], limits: Sequence[int]
    ) -> list[Written]:
        import torch
        import transformers

        from judges.backends.decoding import Chooser, Ending, Likeliest

        config: Any = transformers.GenerationConfig  # not typed
        eos = self.eos
        pad = self.tokenizer.pad_token_id
        if pad is None:
            pad = min(eos, default=0)  # masked in prompts and cut off answers, so any will do
        width = max(len(ids) for ids in prompts)
        padded = [[pad] * (width - len(ids)) + ids for ids in prompts]
        mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
        chooser = Chooser(
            [self._row(r, width - len(p)) for r, p in zip(requests, prompts, strict=True)]
        )
        likeliest = Likeliest([request.top_logprobs for request in requests])
        processors: list[Any] = [likeliest] if any(likeliest.counts) else []
        if not all(row.is_plain for row in chooser.rows):
            processors.append(chooser)
        ending = Ending(width, limits, self.template.stops, self.text)
        with self._positions_in_window():
            output = self.model.generate(
                input_ids=torch.tensor(padded, device=self.model.device),
                attention_mask=torch.tensor(mask, device=self.model.device),
                generation_config=config(
                    max_new_tokens=max(limits),
                    do_sample=False,  # the chooser draws, with each row's own noise
                    num_beams=1,
                    num_return_sequences=1,
                    repetition_penalty=1.0,  # by the chooser as well
                    eos_token_id=sorted(eos) or None,
                    pad_token_id=pad,
                    return_dict_in_generate=False,
                ),
                logits_processor=processors,
                stopping_criteria=[ending],
            )
        answers = []
        for n, ids in enumerate(output[:, width:].tolist()):
            by_text = n in ending.ended
            new = ids[: min(limits[n], ending.ended.get(n, limits[n]))]
            at = next((place for place, token in enumerate(new) if token in eos), None)
            new = new if at is None else new[: at + 1]
            stopped = by_text or at is not None
            answers.append(Written(tokens=new, stopped=stopped, likeliest=likeliest.found[n]))
        return answers

    def _row(self, request: Request, begin: int) -> Any:
        """How this request's tokens are drawn."""
        from judges.backends.decoding import Row, generator_for

        return Row(
            begin=begin,
            temperature=self.temperature(request),
            top_p=self.setting(request, "top_p", 1.0),
            top_k=int(self.setting(request, "top_k", 0)),
            repetition_penalty=self.setting(request, "repetition_penalty", 1.0),
            generator=generator_for(request.sampling.seed or 0, request.id),
        )

    @contextlib.contextmanager
    def _positions_in_window(self) -> Iterator[None]:
        """Keeps the positions of finished rows inside the window.

        A row with a long prompt is padded while the others go on; in models with learned positions
        its own would soon point behind the end of their table. Rows at work never get that far.
        """
        window = self.window

        def clamp(_: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            positions = kwargs.get("position_ids")
            if positions is None or window is None:
                return args, kwargs
            return args, {**kwargs, "position_ids": positions.clamp(max=window - 1)}

        inner = self.model
        if hasattr(inner, "get_base_model"):  # generate() calls the model under the adapter
            inner = inner.get_base_model()
        hook = inner.register_forward_pre_hook(clamp, with_kwargs=True)
        try:
            yield
        finally:
            hook.remove()
