"""Tiny random models in a folder, made in a second: to try Herdbook out, and for its tests.

    python examples/tiny_model.py build/tiny-model

What such a model writes is nonsense, but everything about it is real: tokenizer, chat template,
safetensors, generation.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
CORPUS = [
    "The herd is counted in the morning, and every animal has a name and a number.",
    "Write a short poem about rain. List three fruits. What is the capital of France?",
    "A good answer is short, true and kind; a bad answer is long, false and vain.",
    "Numbers: 0 1 2 3 4 5 6 7 8 9 10 11 12. Signs: . , ; : ! ? ( ) [ ] { } < > / | + - * =",
    "Because they were asked to, they wrote the same sentence twice, and then once more.",
]


def make_tiny_tokenizer(
    folder: Path,
    *,
    chat_template: str | bool = True,
    special: tuple[str, ...] = (),
    pad: bool = True,
    vocab_size: int = 512,
) -> Any:
    """A byte-level BPE tokenizer trained on five lines, saved in `folder`.

    Its special tokens are <s>, </s>, <pad> (unless not `pad`), the turns' labels, <|end|> and
    `special`. `chat_template` is one's own, True for the one above, or False for none.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    labels = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    names = ["<s>", "</s>", *(["<pad>"] if pad else []), *labels, *special]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=names,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS, trainer)
    bpe.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", bpe.token_to_id("<s>"))]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>" if pad else None,
        additional_special_tokens=[*labels, *special],
    )
    if chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE if chat_template is True else chat_template
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_tiny_llama(
    folder: Path,
    *,
    chat_template: str | bool = True,
    seed: int = 0,
    special: tuple[str, ...] = (),
    pad: bool = True,
    window: int = 512,
    spread: float = 0.1,
    dtype: str = "float32",
) -> Path:
    """A random Llama of about a million parameters with its tokenizer, saved in `folder`.

    `spread` is the standard deviation of its weights: from 0.1 on its text does not just repeat
    one token.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tiny_tokenizer(folder, chat_template=chat_template, special=special, pad=pad)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=window,
        initializer_range=spread,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    return folder


def make_lora_adapter(folder: Path, base: Path, *, seed: int = 0) -> Path:
    """A random LoRA adapter that changes what the model in `base` writes, saved in `folder`."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Without this LoRA's own start is no change at all.
        lora = LoraConfig(
            r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft calls what transformers gives up
            get_peft_model(model, lora).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/tiny_model.py FOLDER")
    print(f"{make_tiny_llama(Path(sys.argv[1]))}: a random Llama with its tokenizer")
