"""What the benchmarks of the trainers train: a Llama-style model of random weights, and data.

Words are drawn at random, so that nothing is learned but how long it takes. Lengths are log-normal,
as those of real instructions are: many short answers and a tail of long ones.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from judges.backends.loading import quiet

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<user>", "<assistant>")
TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}> {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %} </s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
FRAME = 3
"""Tokens that the template puts around a prompt and its answer."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a Llama-style model."""

    vocabulary: int
    width: int
    hidden: int
    layers: int
    heads: int
    key_heads: int


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of examples: from `least` to `most`, prompts and answers log-normal."""

    least: int
    most: int
    prompt: float
    """The median."""
    answer: float

    def draw(self, rng: random.Random, n_answers: int) -> tuple[int, list[int]]:
        """Tokens of a prompt and of answers to it, which are about as long as one another."""
        while True:
            prompt = round(self.prompt * rng.lognormvariate(0, 0.6))
            if self.least == self.most and prompt <= self.most // 2:
                return prompt, [self.most - prompt - FRAME] * n_answers
            asked = self.answer * rng.lognormvariate(0, 0.6)
            answers = [round(asked * rng.lognormvariate(0, 0.3)) for _ in range(n_answers)]
            if all(self.least <= prompt + n + FRAME <= self.most for n in answers):
                return prompt, answers


def write_model(folder: Path, shape: Shape) -> int:
    """Writes a model with its tokenizer, in float32; gives the number of its parameters."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = [*SPECIAL, *(f"w{n}" for n in range(shape.vocabulary - len(SPECIAL)))]
    plain = Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    plain.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        unk_token="<unk>", additional_special_tokens=["<user>", "<assistant>"],
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=shape.vocabulary, hidden_size=shape.width, intermediate_size=shape.hidden,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads, max_position_embeddings=4096,
        tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


def write_data(path: Path, task: str, n: int, lengths: Lengths, words: int) -> int:
    """Writes n demonstrations (`sft`) or pairs in the conversational form, which both sides read;
    gives their tokens without padding, the template's included."""
    rng = random.Random(f"{task} {n}")
    names = ("completion",) if task == "sft" else ("chosen", "rejected")

    def text(n_words: int) -> str:
        return " ".join(f"w{int(words * rng.random() ** 3)}" for _ in range(n_words))

    rows: list[dict[str, Any]] = []
    total = 0
    for _ in range(n):
        prompt, answers = lengths.draw(rng, len(names))
        total += sum(prompt + answer + FRAME for answer in answers)
        said = {name: text(answer) for name, answer in zip(names, answers, strict=True)}
        rows.append(
            {
                "prompt": [{"role": "user", "content": text(prompt)}],
                **{k: [{"role": "assistant", "content": v}] for k, v in said.items()},
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return total
