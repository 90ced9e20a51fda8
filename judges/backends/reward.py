"""Reward models in this process: a checkpoint of transformers that gives a conversation one score."""

from __future__ import annotations

import gc
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from judges.backends.checkpoint import find_checkpoint, read_object
from judges.backends.loading import (
    check_dtype,
    find_device,
    first_line,
    is_out_of_memory,
    load_tokenizer,
    load_weights,
    move,
    quiet,
)
from judges.errors import MissingExtraError, UserError
from judges.prompting.chat import ChatTemplate, choose_template
from judges.schema import Message

TOO_LONG = "the conversation is too long for the reward model"
NOT_FINITE = "the reward model gave no finite score"
"""Why there is no score, as it stands in annotations."""

Score = float | str
"""A score, or the reason why there is none."""


@dataclass(slots=True, kw_only=True)
class RewardScorer:
    """A sequence classifier with one label, its tokenizer and chat template; see `load`."""

    model: Any
    tokenizer: Any
    template: ChatTemplate
    parts: Mapping[str, str]
    batch_size: int
    _known: dict[bytes, Score] = field(default_factory=dict)
    """Scores of what was shown already, by its hash: a reference stands in every comparison."""

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        revision: str | None = None,
        dtype: str = "auto",
        device: str = "auto",
        batch_size: int = 16,
        chat_template: str | Path | None = None,
        system_prompt: str | None = None,
    ) -> Self:
        """The model at `path` (see `find_checkpoint`), ready to score; arguments as in
        `TransformersLLM.load`. Raises UserError for everything that is wrong with the files."""
        for package in ("torch", "transformers", "safetensors", "jinja2"):
            if find_spec(package) is None:
                raise MissingExtraError(package, "local")
        check_dtype(dtype)
        where = find_device(device)
        checkpoint = find_checkpoint(path, revision=revision)
        if checkpoint.adapter is not None:
            raise UserError(f"{path} is an adapter: merge it into its reward model first")
        check_reward(checkpoint.folder)
        with quiet():
            tokenizer = load_tokenizer(checkpoint.tokenizer)
            template = choose_template(tokenizer, choice=chat_template, system_prompt=system_prompt)
            model = load_weights(
                "AutoModelForSequenceClassification", checkpoint.folder, dtype, where
            )
        return cls(
            model=move(model, checkpoint.folder, where),
            tokenizer=tokenizer,
            template=template,
            parts={
                **checkpoint.fingerprint(),
                "template": template.digest(),
                "dtype": str(model.dtype).removeprefix("torch."),
            },
            batch_size=batch_size,
        )

    @property
    def window(self) -> int:
        """Tokens that fit into the model; where it does not say, the tokenizer does."""
        most: int = self.tokenizer.model_max_length
        size = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return min(size, most) if isinstance(size, int) and size > 0 else most

    def score(self, conversations: Sequence[Sequence[Message]]) -> list[Score]:
        """The score of each conversation, which ends with the answer, or why it has none.

        Equal ones are scored once. What does not fit into the window is not cut.
        Batches hold conversations of similar length; one that does not fit into memory is tried
        again at half its size. Raises UserError where a single conversation does not fit.
        """
        keys = []
        waiting: dict[bytes, list[int]] = {}
        for turns in conversations:
            text = self.template.render(turns, self.tokenizer, add_generation_prompt=False)
            key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            keys.append(key)
            if key not in self._known and key not in waiting:
                waiting[key] = self.template.encode(text, self.tokenizer)
                if len(waiting[key]) > self.window:
                    del waiting[key]
                    self._known[key] = TOO_LONG
        queue = sorted(waiting, key=lambda key: (-len(waiting[key]), waiting[key]))
        while queue:
            batch = [waiting[key] for key in queue[: self.batch_size]]
            scores = self._forward(batch)
            if scores is None and len(batch) == 1:
                raise UserError(
                    f"out of memory with a single conversation of {len(batch[0])} tokens. Load the "
                    "reward model with dtype=bfloat16, or use a device with more memory"
                )
            if scores is None:
                self.batch_size = len(batch) // 2
                continue
            for key, score in zip(queue, scores, strict=False):
                self._known[key] = score if math.isfinite(score) else NOT_FINITE
            queue = queue[len(batch) :]
        return [self._known[key] for key in keys]

    def close(self) -> None:
        """Free the memory; the model is not used afterwards."""
        import torch

        self.model = self.tokenizer = None
        self._known.clear()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _forward(self, batch: Sequence[Sequence[int]]) -> list[float] | None:
        """The scores of one batch; None where it does not fit into memory."""
        import torch

        rows = self.model.get_input_embeddings().num_embeddings
        for ids in batch:
            if max(ids, default=0) >= rows:  # on a GPU this would end the process
                raise UserError(
                    f"a conversation has token {max(ids)}, but the reward model knows {rows} "
                    "tokens: the tokenizer is that of another model"
                )
        width = max(len(ids) for ids in batch)
        config = self.model.config.get_text_config()
        own = config.pad_token_id
        # The score is read at the last token that is not padding. A model that names no padding
        # means the very last one: any token does that none of the rows ends with.
        ends = {ids[-1] for ids in batch if ids}
        pad = own if own is not None else next(n for n in range(rows) if n not in ends)
        try:
            config.pad_token_id = pad
            with quiet(), torch.inference_mode():
                padded = [[*ids, *[pad] * (width - len(ids))] for ids in batch]
                mask = [[1] * len(ids) + [0] * (width - len(ids)) for ids in batch]
                logits = self.model(
                    input_ids=torch.tensor(padded, device=self.model.device),
                    attention_mask=torch.tensor(mask, device=self.model.device),
                ).logits
                scores: list[float] = logits[:, 0].float().tolist()
                return scores
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        finally:
            config.pad_token_id = own
        # Outside of the handler, whose traceback keeps the tensors of the failed batch alive.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


def check_reward(folder: Path) -> None:
    """Raises UserError unless the folder's config is that of a classifier with one label."""
    import transformers

    config = read_object(folder / "config.json")
    heads = [str(head) for head in config.get("architectures") or []]
    if not heads or not all(head.endswith("ForSequenceClassification") for head in heads):
        raise UserError(
            f"{folder} is no reward model: its architecture is {', '.join(heads) or 'not given'}, "
            "and one that ends in ForSequenceClassification is needed. Code that comes with a "
            "model is never run"
        )
    auto: Any = transformers.AutoConfig
    try:
        labels = auto.from_pretrained(folder, trust_remote_code=False).num_labels
    except Exception as error:  # noqa: BLE001 - broken files raise whatever the parser meets
        raise UserError(f"{folder}/config.json: cannot be used ({first_line(error)})") from None
    if labels != 1:
        raise UserError(
            f"{folder}: a classifier with {labels} labels is no reward model; one with a single "
            "label is needed (num_labels=1)"
        )
