"""From a spec to a model that can be asked. A provider's file is named here and nowhere else."""

from __future__ import annotations

from judges.backends.base import LLM
from judges.backends.spec import ModelSpec
from judges.errors import UserError


def open_model(spec: ModelSpec) -> LLM:
    """The model, ready to answer; raises UserError for what is wrong with it or missing."""
    if not spec.name:
        raise UserError(f"model {spec.spec!r}: the name behind {spec.provider}/ is missing")
    if spec.provider in ("openai", "openai-api"):
        from judges.backends.openai import OpenAILLM

        return OpenAILLM.open(spec)
    if spec.provider == "anthropic":
        from judges.backends.anthropic import AnthropicLLM

        return AnthropicLLM.open(spec)
    if spec.provider == "vllm":
        from judges.backends.vllm import VllmLLM

        return VllmLLM.open(spec)
    batch_size = str(spec.args.get("batch_size", "16"))
    if not batch_size.isdecimal() or int(batch_size) < 1:
        raise UserError(f"{spec.spec}: batch_size={batch_size}: a positive number is needed")
    if spec.provider == "fake":
        from judges.backends.fake import FakeLLM

        fake = FakeLLM(spec.name)
        if "batch_size" in spec.args:
            fake.batch_size = int(batch_size)
        return fake
    from judges.backends.transformers import TransformersLLM

    path, revision = spec.name, ""
    if path.startswith("hf/"):
        path, _, revision = path.partition("@")
    return TransformersLLM.load(
        path,
        revision=revision or None,
        adapter=spec.args.get("adapter"),
        dtype=spec.args.get("dtype", "auto"),
        device=spec.args.get("device", "auto"),
        batch_size=int(batch_size),
        chat_template=spec.args.get("chat_template"),
        system_prompt=spec.args.get("system_prompt"),
    )
