"""Checkpoint folders: fingerprints, precision, adapters, and what is refused with a reason."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
from conftest import edit_json
from safetensors.torch import load_file, save_file
from tiny_model import make_tiny_llama, make_tiny_tokenizer

from judges.backends.base import Request, Sampling
from judges.backends.transformers import TransformersLLM
from judges.errors import MissingExtraError, UserError
from judges.schema import Message


def answers(llm, texts=("Name the herd.", "Count to ten, then stop.")) -> list[str]:
    settings = Sampling(max_tokens=12)
    asked = [Request(id=t, messages=(Message("user", t),), sampling=settings) for t in texts]
    return [completion.text for completion in llm.complete_batch(asked)]


# ----------------------------------------------------------------------- fingerprints and precision


def test_the_fingerprint_changes_with_what_shapes_an_answer(tiny_llama, tiny_adapter, llama_copy):
    def parts(**settings):
        return TransformersLLM.load(llama_copy, device="cpu", **settings).fingerprint()

    def changed(other):
        return {part for part in {*first, *other} if first.get(part) != other.get(part)}

    first = parts()
    assert set(first) == {"weights", "config", "tokenizer", "template", "dtype"}
    assert first == TransformersLLM.load(tiny_llama, device="cpu", batch_size=3).fingerprint()
    assert changed(parts(system_prompt="S")) == {"template"}
    assert changed(parts(chat_template="plain")) == {"template"}
    assert changed(parts(dtype="bfloat16")) == {"dtype"}
    assert changed(parts(adapter=tiny_adapter)) == {"adapter"}
    edit_json(llama_copy / "config.json", transformers_version="0.0.1", _name_or_path="elsewhere")
    assert not changed(parts())
    edit_json(llama_copy / "config.json", rms_norm_eps=1e-3)
    assert changed(parts()) == {"config"}
    first = parts()
    edit_json(llama_copy / "generation_config.json", top_k=7)
    assert changed(parts()) == {"config"}
    first = parts()
    edit_json(llama_copy / "tokenizer_config.json", note="x")
    assert changed(parts()) == {"tokenizer"}
    first = parts()
    weights = load_file(llama_copy / "model.safetensors")
    weights["lm_head.weight"][0, 0] += 1
    save_file(weights, llama_copy / "model.safetensors", metadata={"format": "pt"})
    assert changed(parts()) == {"weights"}


def test_half_precision_is_float32_on_a_cpu_unless_asked_for(tmp_path):
    folder = make_tiny_llama(tmp_path, dtype="bfloat16")
    llm = TransformersLLM.load(folder, device="cpu")
    assert llm.model.dtype == torch.float32
    assert llm.fingerprint()["dtype"] == llm.settings["dtype"] == "float32"
    half = TransformersLLM.load(folder, device="cpu", dtype="bfloat16")
    assert half.fingerprint()["dtype"] == "bfloat16"
    assert all(answers(half))


# ----------------------------------------------------------------------------------------- adapters


def test_an_adapter_finds_its_base_and_changes_the_answers(tiny_llama, tiny_adapter):
    own = TransformersLLM.load(tiny_adapter, device="cpu")
    given = TransformersLLM.load(tiny_llama, device="cpu", adapter=tiny_adapter)
    assert own.fingerprint() == given.fingerprint()
    bare = TransformersLLM.load(tiny_llama, device="cpu")
    assert answers(own) == answers(given) != answers(bare)


def test_where_an_adapters_base_may_lie(tiny_llama, tiny_adapter, tmp_path, monkeypatch):
    moved = Path(shutil.copytree(tiny_adapter, tmp_path / "run" / "adapter"))
    shutil.copytree(tiny_llama, tmp_path / "run" / "base")
    config = moved / "adapter_config.json"
    expected = TransformersLLM.load(tiny_adapter, device="cpu").fingerprint()
    edit_json(config, base_model_name_or_path="../base")
    assert TransformersLLM.load(moved, device="cpu").fingerprint() == expected
    edit_json(config, base_model_name_or_path="run/base")
    monkeypatch.chdir(tmp_path)
    assert TransformersLLM.load(moved, device="cpu").fingerprint() == expected
    asked = []
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda name, **k: asked.append(name) or str(tiny_llama),
    )
    edit_json(config, base_model_name_or_path="org/base")
    assert TransformersLLM.load(moved, device="cpu").fingerprint() == expected
    assert asked == ["org/base"]
    edit_json(config, base_model_name_or_path=str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"its base model .*gone is not there"):
        TransformersLLM.load(moved)
    edit_json(config, base_model_name_or_path=None)
    with pytest.raises(UserError, match="no base_model_name_or_path"):
        TransformersLLM.load(moved)


def test_adapters_that_do_not_fit(tiny_llama, tiny_adapter, tmp_path):
    with pytest.raises(UserError, match="an adapter itself"):
        TransformersLLM.load(tiny_adapter, adapter=tiny_adapter)
    with pytest.raises(UserError, match=r"no adapter_config\.json"):
        TransformersLLM.load(tiny_llama, adapter=tiny_llama)
    mixed = Path(shutil.copytree(tiny_adapter, tmp_path / "mixed"))
    shutil.copy(tiny_llama / "config.json", mixed)
    with pytest.raises(UserError, match="both a model"):
        TransformersLLM.load(mixed)
    stacked = Path(shutil.copytree(tiny_adapter, tmp_path / "stacked"))
    edit_json(stacked / "adapter_config.json", base_model_name_or_path=str(tiny_adapter))
    with pytest.raises(UserError, match="on top of an adapter"):
        TransformersLLM.load(stacked)
    pickled = Path(shutil.copytree(tiny_adapter, tmp_path / "pickled"))
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    with pytest.raises(UserError, match="pickled weights are refused"):
        TransformersLLM.load(pickled)
    (pickled / "adapter_model.bin").unlink()
    with pytest.raises(UserError, match=r"no adapter_model\.safetensors"):
        TransformersLLM.load(pickled)
    other = Path(shutil.copytree(tiny_adapter, tmp_path / "other"))
    edit_json(other / "adapter_config.json", target_modules=["no_such_layer"])
    with pytest.raises(UserError, match="does not go onto its model"):
        TransformersLLM.load(other)


# ---------------------------------------------------------------------- what is wrong with a folder


def without(name):
    return lambda folder: (folder / name).unlink()


def with_config(**changes):
    return lambda folder: edit_json(folder / "config.json", **changes)


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def missing_shard(folder):
    without("model.safetensors")(folder)
    edit_json(
        folder / "model.safetensors.index.json", weight_map={"a": "model-00001-of-2.safetensors"}
    )


def outside_shard(folder):
    without("model.safetensors")(folder)
    edit_json(folder / "model.safetensors.index.json", weight_map={"a": "../../secret.safetensors"})


def missing_head(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("config.json"), r"no config\.json"),
        (without("model.safetensors"), "no weights"),
        (with_config(auto_map={"AutoModelForCausalLM": "m.M"}, model_type="own"), "never run"),
        (without("tokenizer.json"), "no tokenizer"),
        (write("tokenizer.json", "{}"), "tokenizer cannot be loaded"),
        (write("config.json", "{"), r"config\.json: not valid JSON"),
        (write("config.json", "[]"), "JSON object"),
        (write("generation_config.json", "{"), r"generation_config\.json: not valid JSON"),
        (write("model.safetensors", "not weights"), "broken or cut off"),
        (cut, "broken or cut off"),
        (missing_shard, r"model-00001-of-2\.safetensors is missing"),
        (outside_shard, "weight_map"),
        (missing_head, "weights are missing.*lm_head"),
        (with_config(model_type="t5"), "no causal language model"),
        (with_config(model_type="no-such"), "does not know model_type 'no-such'"),
        (with_config(architectures=["LlamaForSequenceClassification"]), "no causal"),
        (with_config(architectures=["BertForMaskedLM"], model_type="bert"), "no causal"),
        (with_config(hidden_size=64), "the model cannot be loaded"),
    ],
)
def test_a_folder_that_cannot_be_loaded(llama_copy, damage, message):
    damage(llama_copy)
    with pytest.raises(UserError, match=message) as caught:
        TransformersLLM.load(llama_copy, device="cpu")
    assert str(llama_copy) in str(caught.value)
    assert "\n" not in str(caught.value)


class Trap:
    """What runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (os.mkdir, (os.environ["TRAP"],))


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "model.pth", "consolidated.00.pth"]
)
def test_pickled_weights_are_refused_and_never_loaded(name, llama_copy, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    (llama_copy / "model.safetensors").unlink()
    torch.save({"weight": Trap()}, llama_copy / name)
    message = rf"{re.escape(name)}: pickled weights are refused.*save_pretrained"
    with pytest.raises(UserError, match=message):
        TransformersLLM.load(llama_copy, device="cpu")
    assert not (tmp_path / "sprung").exists()


def test_shards_are_loaded_and_hashed(llama_copy):
    whole = TransformersLLM.load(llama_copy, device="cpu")
    whole.model.save_pretrained(llama_copy, max_shard_size="1MB")
    (llama_copy / "model.safetensors").unlink()
    sharded = TransformersLLM.load(llama_copy, device="cpu")
    assert answers(sharded) == answers(whole)
    before = sharded.fingerprint()["weights"]
    path = max(llama_copy.glob("model-*.safetensors"))
    save_file({k: v + 1 for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
    assert TransformersLLM.load(llama_copy, device="cpu").fingerprint()["weights"] != before


def test_a_tokenizer_of_another_model_is_noticed(llama_copy, tmp_path):
    make_tiny_tokenizer(tmp_path / "other", special=tuple(f"<extra {n}>" for n in range(2000)))
    shutil.copytree(tmp_path / "other", llama_copy, dirs_exist_ok=True)
    edit_json(llama_copy / "tokenizer_config.json", chat_template=None)
    llm = TransformersLLM.load(llama_copy, device="cpu")
    with pytest.raises(UserError, match=r"'Hello there'.*another model"):
        answers(llm, ["Hello there"])


def test_settings_that_do_not_exist(tiny_llama):
    with pytest.raises(UserError, match="dtype 'int3'"):
        TransformersLLM.load(tiny_llama, dtype="int3")
    with pytest.raises(UserError, match="device 'sofa'"):
        TransformersLLM.load(tiny_llama, device="sofa")
    with pytest.raises(UserError, match="no such folder"):
        TransformersLLM.load(tiny_llama / "what" / "is")
    with pytest.raises(UserError, match="revision 'v1'"):
        TransformersLLM.load(tiny_llama, revision="v1")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there(tiny_llama):
    with pytest.raises(UserError, match="device 'cuda' cannot be used"):
        TransformersLLM.load(tiny_llama, device="cuda")


@pytest.mark.parametrize("package", ["torch", "transformers", "peft"])
def test_a_missing_extra_is_named(tiny_adapter, monkeypatch, package):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "judges.backends.transformers.find_spec",
        lambda name: None if name == package else found(name),
    )
    with pytest.raises(MissingExtraError, match=rf"'{package}'.*herdbook\[local\]"):
        TransformersLLM.load(tiny_adapter)


# ------------------------------------------------------------------------------------------ the Hub


def test_a_name_on_the_hub(tiny_llama, monkeypatch, tmp_path):
    asked = []

    def download(name, *, revision, allow_patterns, ignore_patterns):
        asked.append((name, revision))
        assert "*.safetensors" in allow_patterns
        assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in allow_patterns[:2])
        return str(tiny_llama)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_llama, tmp_path / "org" / "here")
    TransformersLLM.load("org/name")
    TransformersLLM.load("org/name", revision="v1")
    TransformersLLM.load("hf/org/here@v2")
    TransformersLLM.load("org/name@v3")  # as vllm/org/name@v3 is looked for
    assert asked == [
        ("org/name", None), ("org/name", "v1"), ("org/here", "v2"), ("org/name", "v3")
    ]  # fmt: skip
    TransformersLLM.load("org/here")
    assert len(asked) == 4


def test_a_name_that_cannot_be_fetched(monkeypatch):
    def refuse(name, **settings):
        raise OSError("no route to host\nand a long story")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(
        UserError, match=r"^org/name at revision 'v1': .*no route to host\)"
    ) as caught:
        TransformersLLM.load("org/name", revision="v1")
    assert "\n" not in str(caught.value)


def test_code_beside_a_model_that_transformers_knows_is_not_run(tmp_path: Path) -> None:
    folder = make_tiny_llama(tmp_path / "model")
    for name in ("config.json", "tokenizer_config.json"):
        edit_json(
            folder / name, auto_map={"AutoModelForCausalLM": "own.Own", "AutoTokenizer": "own.Own"}
        )
    (folder / "own.py").write_text("raise SystemExit('the code was run')")
    assert type(TransformersLLM.load(folder).model).__name__ == "LlamaForCausalLM"
