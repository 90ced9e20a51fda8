"""The farm's tokenizer: one token for each word, letter, number and sign.

What tasks manipulate is never split nor merged: a letter among letters is a token, and so is a word
or a number. Spaces are no tokens: the decoder puts them back as the farm's texts have them, so that
a text of the farm and its tokens are one another's image. All else is <unk>.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from train_baselines.farm import authors
from train_baselines.farm.tasks import ALL_WORDS, KINDS, LETTERS, OPENINGS, ORDINALS, WISHES, WORDS

SPECIAL = ("<pad>", "<unk>", "<s>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PIECE = r"\n|[a-z]+|\d+|[^\sa-z\d]"
"""What may be a token: a line end, a word or letter, a number, a sign."""
_SPACES = ((" \n ", "\n"), (" \n", "\n"), ("( ", "("), *((f" {s}", s) for s in ".,:?!)"))
"""Where the decoder takes out the spaces that it has put between all tokens."""


def vocabulary() -> list[str]:
    """All tokens, in a fixed order."""
    found = dict.fromkeys((*SPECIAL, "\n", *".,:?!()-"))
    found |= dict.fromkeys((*LETTERS, *ALL_WORDS, *map(str, range(100))))
    for text in _texts():
        found |= dict.fromkeys(re.findall(PIECE, re.sub(r"\{.\}", "", text)))
    return list(found)


def _texts() -> Iterator[str]:
    """Every wording that tasks and authors have."""
    for kind in KINDS.values():
        yield from (*kind.phrasings, *kind.restated)
    for wish in WISHES.values():
        yield from wish.phrasings
    yield from (*WORDS, *ORDINALS, "blank", "thank you.")
    for texts in (
        OPENINGS, authors.LEADS, authors.EXPLANATIONS, authors.CLOSINGS, authors.REMARKS,
    ):  # fmt: skip
        yield from texts


def make_tokenizer() -> Any:
    """A Hugging Face tokenizer with its chat template."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {token: n for n, token in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    # Inverted, the pattern is what is kept, and what lies between is removed.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), behavior="removed", invert=True)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="##", cleanup=False),  # puts a space before every token
            decoders.Fuse(),
            *(decoders.Replace(old, new) for old, new in _SPACES),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", ids["<s>"])]
    )
    fast: Any = PreTrainedTokenizerFast
    made = fast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="<|end|>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
        clean_up_tokenization_spaces=False,
    )
    made.chat_template = CHAT_TEMPLATE
    return made


def save_tokenizer(folder: Path) -> int:
    """Write the tokenizer's files; gives the number of its tokens."""
    made = make_tokenizer()
    made.save_pretrained(folder)
    return len(made)
