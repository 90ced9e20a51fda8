"""Checkpoints to models that can be trained, or that only answer.

Files are found and checked by `judges.backends`: safetensors only, and no code of others. Weights
that are trained are float32, whatever the checkpoint holds; frozen ones, of a model that only answers
or under adapters, are bfloat16 where bf16 is asked for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from judges.backends.checkpoint import Checkpoint, find_checkpoint
from judges.backends.loading import (
    check_causal,
    first_line,
    load_model,
    load_tokenizer,
    load_weights,
    quiet,
)
from judges.backends.reward import check_reward
from judges.errors import MissingExtraError, UserError
from judges.prompting.chat import choose_template
from judges.schema import Message
from train_baselines.data.examples import Encoder
from train_baselines.models.wrapped import Policy, ScalarModel
from train_baselines.runtime.config import RunConfig
from train_baselines.runtime.run import Run

PLAIN_TEMPLATE = (
    "{% for message in messages %}{% if not loop.first %}{{ '\\n\\n' }}{% endif %}"
    "{{ {'system': 'System', 'user': 'User', 'assistant': 'Assistant'}[message['role']] }}:"
    "{{ '\\n' }}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\\n\\nAssistant:\\n' }}{% endif %}"
)
"""What `judges.prompting` writes for a tokenizer without a template, as a template, with the end of
text behind every answer: a trained model always has one, and ends as it was trained to."""


def load_policy(path: str, config: RunConfig, run: Run) -> Policy:
    """The causal model at `path` on the run's device, to be trained as the config says.

    Raises UserError for everything that is wrong with the files.
    """
    model, encoder = _load_causal(path, config, run)
    if config.use_peft:
        model = _with_lora(model, config)
    return Policy(model, encoder, bf16=run.precision == "bf16")


def load_reference(path: str, config: RunConfig, run: Run) -> Policy:
    """The causal model at `path`, which is not trained."""
    model, encoder = _load_causal(path, config, run, is_frozen=True)
    return Policy(model, encoder, bf16=run.precision == "bf16").requires_grad_(False).eval()


def new_scalar_model(path: str, config: RunConfig, run: Run) -> ScalarModel:
    """The causal model at `path` with a new head of one number, to be trained.

    The head is drawn from N(0, 1 / (D + 1)) (Stiennon et al. 2020, appendix C.2).
    """
    import transformers

    causal, encoder = _load_causal(path, config, run)
    settings = causal.config
    settings.num_labels = 1
    auto: Any = transformers.AutoModelForSequenceClassification
    try:
        with torch.device("meta"), quiet():
            model = auto.from_config(settings)
    except ValueError:
        kind = settings.model_type
        raise UserError(f"{path}: transformers has no classifier for {kind}") from None
    if type(getattr(model, "score", None)) is not nn.Linear:
        raise UserError(
            f"{path}: the classifier of {settings.model_type} has no linear head `score`"
        )
    setattr(model, model.base_model_prefix, causal.base_model)
    width = model.score.in_features
    model.score = nn.Linear(width, 1, bias=False)
    generator = torch.Generator().manual_seed(config.seed)
    with torch.no_grad():
        model.score.weight.normal_(0, (width + 1) ** -0.5, generator=generator)
    model.to(run.device)
    # Classifiers read the last token that is not padding: it must not end a conversation.
    ending = encoder.judged((Message("user", "?"),), "?")[-1]
    own = encoder.tokenizer.pad_token_id
    settings.get_text_config().pad_token_id = None if own == ending else own
    if config.use_peft:
        model = _with_lora(model, config)
        model.get_base_model().score.requires_grad_(True)
    return ScalarModel(model, encoder, bf16=run.precision == "bf16")


def load_scalar_model(path: str, config: RunConfig, run: Run) -> ScalarModel:
    """The reward model at `path`, a sequence classifier with one label, which is not trained."""
    model, encoder = _load_classifier(path, config, run, is_frozen=True)
    frozen = ScalarModel(model, encoder, bf16=run.precision == "bf16")
    return frozen.requires_grad_(False).eval()


def load_value_model(path: str, config: RunConfig, run: Run) -> ScalarModel:
    """The reward model at `path` with a head of zeros, to be trained as a value model."""
    model, encoder = _load_classifier(path, config, run, is_frozen=config.use_peft)
    model.score = nn.Linear(model.score.in_features, 1, bias=False, device=run.device)
    nn.init.zeros_(model.score.weight)
    if config.use_peft:
        model = _with_lora(model, config)
        model.get_base_model().score.requires_grad_(True)
    return ScalarModel(model, encoder, bf16=run.precision == "bf16")


def check_same_tokenizer(policy: Encoder, other: Encoder, path: str) -> None:
    """Raises UserError for a reward model that reads other token ids than the policy writes."""
    if policy.tokenizer.get_vocab() != other.tokenizer.get_vocab():
        raise UserError(
            f"{path} has another tokenizer than the policy: train the reward model from a model of "
            "the policy's family"
        )
    if policy.template.digest() != other.template.digest():
        raise UserError(
            f"{path} has another chat template than the policy: give both the same --chat-template"
        )


def _find(path: str, config: RunConfig) -> tuple[Checkpoint, Encoder]:
    checkpoint = find_checkpoint(path)
    with quiet():
        tokenizer = load_tokenizer(checkpoint.tokenizer)
    chosen = choose_template(tokenizer, choice=config.chat_template)
    tokenizer.chat_template = PLAIN_TEMPLATE if chosen.jinja is None else chosen.jinja
    return checkpoint, Encoder(tokenizer, choose_template(tokenizer))


def _dtype(run: Run, *, is_frozen: bool) -> str:
    return "bfloat16" if is_frozen and run.precision == "bf16" else "float32"


def _load_causal(
    path: str, config: RunConfig, run: Run, *, is_frozen: bool = False
) -> tuple[Any, Encoder]:
    checkpoint, encoder = _find(path, config)
    check_causal(checkpoint.folder)
    with quiet():
        dtype = _dtype(run, is_frozen=is_frozen or config.use_peft)
        model = load_model(checkpoint, dtype, run.device)
        if checkpoint.adapter is not None:
            model = model.merge_and_unload()
    rows = model.get_input_embeddings().num_embeddings
    if len(encoder.tokenizer) > rows:
        raise UserError(
            f"{path}: the tokenizer has {len(encoder.tokenizer)} tokens and the model {rows}: it is "
            "the tokenizer of another model"
        )
    _settle(model, encoder, config)
    return model, encoder


def _load_classifier(
    path: str, config: RunConfig, run: Run, *, is_frozen: bool
) -> tuple[Any, Encoder]:
    checkpoint, encoder = _find(path, config)
    check_reward(checkpoint.folder)
    with quiet():
        auto = "AutoModelForSequenceClassification"
        dtype = _dtype(run, is_frozen=is_frozen)
        model = load_weights(auto, checkpoint.folder, dtype, run.device).to(run.device)
    _settle(model, encoder, config)
    return model, encoder


def _settle(model: Any, encoder: Encoder, config: RunConfig) -> None:
    """Dropout off, attention and checkpointing as configured, answers end as they are trained to."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
    if config.attn_implementation != "auto":
        try:
            model.set_attn_implementation(config.attn_implementation)
        except (ImportError, ValueError) as error:
            raise UserError(f"attn_implementation: {first_line(error)}") from None
    if config.gradient_checkpointing:
        with quiet():  # transformers has a new name for it, which its earlier versions do not know
            model.gradient_checkpointing_enable({"use_reentrant": False})
    if (generation := getattr(model, "generation_config", None)) is not None:
        ends = {encoder.end, encoder.tokenizer.eos_token_id} - {None}
        generation.eos_token_id = sorted(ends)
        generation.pad_token_id = encoder.pad


def _with_lora(model: Any, config: RunConfig) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise MissingExtraError("peft", "train") from None
    targets = config.lora_target_modules
    try:
        settings = LoraConfig(
            r=config.lora_r,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules="all-linear" if targets == ("all-linear",) else list(targets),
            exclude_modules=["score"],
        )
        with quiet():
            return get_peft_model(model, settings)
    except ValueError as error:
        raise UserError(f"lora_target_modules: {first_line(error)}") from None
