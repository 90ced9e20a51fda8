"""Hugging Face models in this process: a folder, a name on the Hub, or an adapter on either.

An answer depends on its own request only: not on its batch, and not on the order of requests. Only
where two tokens score the same to within rounding can another batch size choose the other one.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from judges.backends.base import Completion, OutOfMemory, Request
from judges.backends.checkpoint import find_checkpoint, read_object
from judges.backends.loading import (
    check_causal,
    find_device,
    is_out_of_memory,
    load_model,
    load_tokenizer,
    quiet,
)
from judges.errors import MissingExtraError, UserError
from judges.prompting import ChatTemplate, choose_template
from judges.schema import Message
from judges.thinking import TAGS, opens_thinking, split_thinking

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(slots=True, kw_only=True)
class TransformersLLM:
    """A causal language model with its tokenizer and chat template. Use `load` to get one."""

    model: Any
    tokenizer: Any
    template: ChatTemplate
    parts: Mapping[str, str]
    generation: Mapping[str, Any]
    """The model's own generation_config.json."""
    batch_size: int = 16
    eos: frozenset[int] = field(init=False)
    """Every token that ends an answer."""
    hidden: frozenset[int] = field(init=False)
    """Control tokens, which are left out of an answer; the tags around thinking stay in."""

    def __post_init__(self) -> None:
        own = self.model.generation_config.eos_token_id
        ends = [*(own if isinstance(own, list) else [own]), self.tokenizer.eos_token_id]
        ends.append(self.template.end_of_turn(self.tokenizer))
        self.eos = frozenset(token for token in ends if token is not None)
        added = self.tokenizer.added_tokens_decoder
        self.hidden = frozenset(n for n, t in added.items() if t.special and str(t) not in TAGS)

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
        if dtype not in DTYPES:
            raise UserError(f"dtype {dtype!r}: write one of {', '.join(DTYPES)}")
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

    def fingerprint(self) -> Mapping[str, str]:
        return self.parts

    def render(self, messages: Sequence[Message]) -> str:
        return self.template.render(messages, self.tokenizer)

    def length(self, request: Request) -> int:
        return len(self.template.encode(self.render(request.messages), self.tokenizer))

    @property
    def window(self) -> int | None:
        """Tokens that fit into the model, prompt and answer together; None for no limit."""
        config = self.model.config.get_text_config()
        names = ("max_position_embeddings", "n_positions", "max_seq_len")
        found = (getattr(config, name, None) for name in names)
        return next((size for size in found if isinstance(size, int) and size > 0), None)

    def complete_batch(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion a request, in the same order; raises OutOfMemory.

        A prompt that fills the model's window is not cut: its completion is empty and ends with
        `length`. Raises UserError when the tokenizer is not the model's.
        """
        prompts = [self.render(request.messages) for request in requests]
        tokens = [self.template.encode(prompt, self.tokenizer) for prompt in prompts]
        limits = [self._limit(r, len(ids)) for r, ids in zip(requests, tokens, strict=True)]
        live = [n for n, limit in enumerate(limits) if limit > 0]
        written: dict[int, tuple[list[int], bool]] = {}
        if live:
            answers = self._generate(
                [requests[n] for n in live], [tokens[n] for n in live], [limits[n] for n in live]
            )
            written = dict(zip(live, answers, strict=True))
        completions = []
        for n, prompt in enumerate(prompts):
            new, stopped = written.get(n, ([], False))
            text = self._text(new)
            for stop in self.template.stops:
                text = text.partition(stop)[0]
            split = split_thinking(text, opens_thinking(prompt))
            completions.append(
                Completion(
                    text=split.answer,
                    reasoning=split.reasoning,
                    finish_reason="stop" if stopped else "length",
                    input_tokens=len(tokens[n]),
                    output_tokens=len(new),
                )
            )
        return completions

    def _limit(self, request: Request, prompt_tokens: int) -> int:
        """New tokens that the request may get."""
        room = [request.sampling.max_tokens]
        if self.window is not None:
            room.append(self.window - prompt_tokens)
        return max(0, min(room))

    def _generate(
        self, requests: Sequence[Request], prompts: Sequence[list[int]], limits: Sequence[int]
    ) -> list[tuple[list[int], bool]]:
        """The new tokens of each row with the one that ended it, and whether it ended by itself."""
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
    ) -> list[tuple[list[int], bool]]:
        import torch
        import transformers

        from judges.backends.decoding import Chooser, Ending

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
        ending = Ending(width, limits, self.template.stops, self._text)
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
                logits_processor=[] if all(row.is_plain for row in chooser.rows) else [chooser],
                stopping_criteria=[ending],
            )
        answers = []
        for n, ids in enumerate(output[:, width:].tolist()):
            by_text = n in ending.ended
            new = ids[: min(limits[n], ending.ended.get(n, limits[n]))]
            at = next((place for place, token in enumerate(new) if token in eos), None)
            answers.append((new if at is None else new[: at + 1], by_text or at is not None))
        return answers

    def _row(self, request: Request, begin: int) -> Any:
        """How this request's tokens are drawn; what it leaves open is as the model's config says."""
        from judges.backends.decoding import Row, generator_for

        sampling = request.sampling

        def setting(name: str, off: float) -> float:
            chosen = getattr(sampling, name)
            chosen = self.generation.get(name) if chosen is None else chosen
            return off if chosen is None else float(chosen)

        return Row(
            begin=begin,
            temperature=sampling.temperature,
            top_p=setting("top_p", 1.0),
            top_k=int(setting("top_k", 0)),
            repetition_penalty=setting("repetition_penalty", 1.0),
            generator=generator_for(sampling.seed, request.id),
        )

    def _text(self, tokens: Sequence[int]) -> str:
        kept = [token for token in tokens if token not in self.hidden]
        text = self.tokenizer.decode(
            kept, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return str(text)

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
