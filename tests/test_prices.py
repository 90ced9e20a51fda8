"""Prices: the arithmetic, which line of the table holds, the user's own lines, families of names."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from datetime import date
from importlib import resources
from pathlib import Path

import pytest
from test_documented_files import documented

from judges.backends.base import Completion
from judges.backends.spec import ModelSpec
from judges.calling.prices import Line, Price, Prices, family_of
from judges.errors import UserError

LOCAL = "http://127.0.0.1:8000/v1"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A user without a prices.toml, and without servers in the environment."""
    for variable in ("HERDBOOK_PRICES", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes the user's prices.toml and loads the prices anew."""

    def write(text: str) -> Prices:
        path = tmp_path / "prices.toml"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setenv("HERDBOOK_PRICES", str(path))
        return Prices.load()

    return write


def spec(name: str, base_url: str | None = None) -> ModelSpec:
    return ModelSpec(spec=name, base_url=base_url)


def used(
    input_tokens: int | None, output_tokens: int | None, cached: int | None = None
) -> Completion:
    return Completion(
        text="", input_tokens=input_tokens, output_tokens=output_tokens, cached_tokens=cached
    )


# -------------------------------------------------------------------------------------- arithmetic
@pytest.mark.parametrize(
    ("price", "call", "batch", "dollars"),
    [
        (Price(input=2, output=8), used(1000, 100), False, 0.0028),
        (Price(input=2, output=8), used(1000, 0), False, 0.002),
        # 400 tokens at the full price, 600 from the provider's cache.
        (Price(input=2, output=8, cached_input=0.5), used(1000, 100, 600), False, 0.0019),
        (Price(input=2, output=8), used(1000, 100, 600), False, 0.0028),
        (Price(input=2, output=8, cached_input=0.5), used(1000, 100, 5000), False, 0.0013),
        (
            Price(input=2, output=8, cached_input=0.5, batch=0.5),
            used(1000, 100, 600),
            True,
            0.00095,
        ),
        (Price(input=2, output=8), used(1000, 100), True, None),
        (Price(input=2, output=8), used(None, 100), False, None),
        (Price(input=2, output=8), used(1000, None), False, None),
        (Price(input=0, output=0), used(None, None), False, 0.0),
        (Price(input=2, output=8, up_to=1000), used(1000, 0), False, 0.002),
        (Price(input=2, output=8, up_to=999), used(1000, 0), False, None),
    ],
)
def test_the_cost_of_a_call(price, call, batch, dollars):
    assert price.cost(call, batch) == (
        None if dollars is None else pytest.approx(dollars, rel=1e-12)
    )


def test_tokens_of_many_calls_cost_what_the_calls_do():
    price = Price(input=0.1, output=0.5, cached_input=0.01, batch=0.5, up_to=100_000)
    call = used(90_000, 1_000, 30_000)
    assert price.of_tokens(9_000_000, 100_000, 3_000_000) == pytest.approx(100 * price.cost(call))
    assert price.of_tokens(1e6, 0, batch=True) == pytest.approx(0.05)


# ------------------------------------------------------------------------------- which line holds
def test_a_dated_name_has_the_price_of_its_model():
    prices = Prices.load()
    price = prices.of(spec("openai/gpt-4o"))
    assert price is not None
    assert (price.input, price.cached_input, price.output, price.batch) == (2.5, 1.25, 10, 0.5)
    assert price.as_of == prices.facts(spec("openai/gpt-4o")).as_of is not None
    assert prices.of(spec("openai/gpt-4o-2024-08-06")) == price
    haiku = prices.of(spec("anthropic/claude-haiku-4-5-20251001"))
    assert haiku is not None
    assert haiku.output == 5


@pytest.mark.parametrize(
    "name",
    [
        "openai/gpt-4o-realtime-preview",
        "openai/gpt-4o-2024-05-13",  # its own line says only that it is gone
        "openai/gpt-5.1-chat-latest",
        "openai/gpt-4o-mini-transcribe",
        "openai/ft:gpt-4o-mini-2024-07-18:org::id",
        "anthropic/gpt-4o",
    ],
)
def test_another_model_has_no_known_price(name):
    assert Prices.load().of(spec(name)) is None


def test_the_served_name_decides_where_it_is_a_version_or_the_other_has_no_price():
    prices = Prices.load()
    mini, large = prices.of(spec("openai/gpt-4o-mini")), prices.of(spec("openai/gpt-4o"))
    assert mini != large
    assert prices.of(spec("openai/gpt-4o"), "gpt-4o-mini-2024-07-18") == large
    assert prices.of(spec("openai/gpt-4o-mini"), "gpt-4o-mini-2024-07-18") == mini
    assert prices.of(spec("openai/gpt-4o-mini"), "gpt-4o") == mini
    assert prices.of(spec("openai/nickname"), "gpt-4o-mini-2024-07-18") == mini
    assert prices.of(spec("openai/gpt-4o-mini"), "something else") == mini
    assert prices.of(spec("openai/gpt-4o"), "gpt-4o-2024-05-13") is None


def test_the_providers_prices_hold_at_its_own_address_only(monkeypatch):
    prices = Prices.load()
    at_home = prices.of(spec("openai/gpt-4o"))
    assert prices.of(spec("openai-api/gpt-4o", "https://api.openai.com/v1/")) == at_home
    assert prices.of(spec("openai/gpt-4o", LOCAL)) is None
    assert prices.of(spec("openai-api/gpt-4o", LOCAL)) is None
    assert prices.of(spec("openai-api/gpt-4o")) is None
    monkeypatch.setenv("OPENAI_BASE_URL", LOCAL)
    assert prices.of(spec("openai/gpt-4o")) is None
    assert prices.facts(spec("openai/gpt-4o")).context is None


@pytest.mark.parametrize("name", ["hf/org/gpt-4o", "vllm/org/x", "fake/words", "some/folder"])
def test_a_model_in_this_process_is_free(name):
    price = Prices.load().of(spec(name))
    assert price is not None
    assert price.cost(used(None, None)) == 0


# ------------------------------------------------------------------------------ the user's own file
def test_a_users_line_goes_first_and_the_rest_stays(own):
    prices = own('models = [{ model = "openai/gpt-4o", input = 1, output = 2 }]')
    price = prices.of(spec("openai/gpt-4o-2024-08-06"))
    assert (price.input, price.output, price.cached_input, price.batch) == (1, 2, None, None)
    assert price.source.endswith("prices.toml")
    assert prices.facts(spec("openai/gpt-4o")).context == 128_000
    assert prices.of(spec("openai/gpt-4o-mini")).input == 0.15


def test_a_server_cannot_call_itself_free(own):
    prices = own(
        """
        models = [
            { model = "openai-api/dear", input = 1000, output = 1000 },
            { model = "openai-api/dear-2026-01-01", input = 900, output = 900 },
            { model = "openai-api/free", input = 0, output = 0 },
        ]
        """
    )
    dear = spec("openai-api/dear", LOCAL)
    assert prices.of(dear, "free") == prices.of(dear)
    assert prices.of(dear, "dear-2026-01-01").input == 900
    assert prices.of(spec("openai-api/dear-latest", LOCAL), "dear-2026-01-01").input == 900
    assert prices.of(spec("openai-api/unpriced", LOCAL), "free").input == 0


def test_a_users_line_holds_wherever_the_model_is_served(own):
    prices = own('models = [{ model = "openai-api/qwen", input = 0, output = 0 }]')
    assert prices.of(spec("openai-api/qwen", LOCAL)).cost(used(None, None)) == 0
    assert prices.of(spec("openai-api/qwen2", LOCAL)) is None
    assert prices.of(spec("openai-api/alias", LOCAL), "qwen").input == 0


def test_a_line_with_an_address_holds_there_only(own):
    prices = own(
        f"""
        as_of = 2026-10-01
        batch = 0.25
        [[models]]
        model = "openai-api/*"
        base_url = "{LOCAL}/"
        input = 0
        output = 0
        [[models]]
        model = "openai-api/big"
        base_url = "{LOCAL}"
        input = 3
        output = 4
        context = 32768
        logprobs = true
        """
    )
    assert prices.of(spec("openai-api/any", LOCAL)).input == 0
    big = prices.of(spec("openai-api/big", LOCAL))
    assert (big.input, big.batch, big.as_of) == (3, 0.25, date(2026, 10, 1))
    assert prices.of(spec("openai-api/any", "http://127.0.0.1:9000/v1")) is None
    facts = prices.facts(spec("openai-api/big", LOCAL))
    assert (facts.context, facts.logprobs, facts.is_alias) == (32768, True, None)


def test_the_file_in_the_folder_for_settings_is_read(tmp_path, monkeypatch):
    folder = tmp_path / "config" / "herdbook"
    folder.mkdir(parents=True)
    line = 'models = [{ model = "openai/gpt-4o", input = 7, output = 7 }]'
    (folder / "prices.toml").write_text(line, encoding="utf-8")
    assert Prices.load().of(spec("openai/gpt-4o")).input == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models = [", "not valid TOML"),
        ("", "models: "),
        ("models = []\nextra = 1", "extra: "),
        ('models = [{ model = "a", price = 1 }]', "models.0.price: "),
        ("models = [{ input = 1, output = 1 }]", "models.0.model: "),
        ('models = [{ model = "a", input = -1, output = 1 }]', "models.0.input: "),
        ('models = [{ model = "a", input = nan, output = 1 }]', "models.0.input: "),
        ('models = [{ model = "a", input = "free", output = 1 }]', "models.0.input: "),
        ('models = [{ model = "a", input = 1 }]', "a: give both input and output"),
        ('models = [{ model = "a", cached_input = 1 }]', "a: cached_input without"),
        ('models = [{ model = "a", context = 0 }]', "models.0.context: "),
        ("[families]\na = ['b']", "models: "),
    ],
)
def test_a_broken_file_is_refused(own, text, said):
    with pytest.raises(UserError) as refused:
        own(text)
    assert said in str(refused.value)
    assert "prices.toml" in str(refused.value)


def test_a_file_that_is_named_and_not_there_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("HERDBOOK_PRICES", str(tmp_path / "none.toml"))
    with pytest.raises(UserError, match=r"HERDBOOK_PRICES: .*none.toml: no such file"):
        Prices.load()


# --------------------------------------------------------------------------------- what else is known
@pytest.mark.parametrize(
    ("name", "is_alias"),
    [
        ("openai/gpt-4o", True),
        ("openai/gpt-4o-2024-08-06", False),
        ("openai/gpt-4-0613", False),
        ("openai/chatgpt-9-latest", True),
        ("openai/gpt-99", None),
        ("anthropic/claude-haiku-4-5", True),
        ("anthropic/claude-haiku-4-5-20251001", False),
        ("anthropic/claude-sonnet-4-6", False),
        ("anthropic/claude-3-5-haiku-latest", True),
        ("hf/org/model", False),
    ],
)
def test_whether_a_name_can_come_to_mean_another_model(name, is_alias):
    assert Prices.load().facts(spec(name)).is_alias is is_alias


def test_facts_of_a_model_that_is_going():
    facts = Prices.load().facts(spec("openai/gpt-4.1-2025-04-14"))
    assert facts.shutdown == date(2027, 1, 14)
    assert facts.family == "gpt"
    assert facts.logprobs is True


def test_nothing_is_known_of_an_unknown_model():
    facts = Prices.load().facts(spec("openai-api/novel", LOCAL))
    assert facts == type(facts)(
        family=None, context=None, logprobs=None, shutdown=None, is_alias=None, as_of=None
    )


FAMILIES = {
    "org/Llama-3-8B-Instruct": "llama",
    "meta-llama/Something-New": "llama",
    "org__Qwen2.5-7B-Instruct": "qwen",
    "Qwen/QwQ-32B": "qwen",
    "gpt4_1106_preview": "gpt",
    "openai/gpt-oss-20b": "gpt",
    "o3-mini": "gpt",
    "chatgpt-4o-latest": "gpt",
    "text-davinci-003": "gpt",
    "EleutherAI/gpt-j-6b": "eleuther",
    "TheBloke/Llama-2-7B-GPTQ": "llama",
    "some-model-GPTQ": None,
    "claude-opus-5-5": "claude",
    "google/gemma-3-4b-it": "gemma",
    "gemini-3.5-flash": "gemini",
    "Mixtral-8x7B-Instruct-v0.1": "mistral",
    "zephyr-7b-beta": "mistral",
    "DeepSeek-R1-Distill-Qwen-7B": "deepseek",
    "Phi-3-mini": "phi",
    "phi4": "phi",
    "dolphin": None,
    "philosopher": None,
    "grok-4": "grok",
    "runs/llama-sft/checkpoint-100": "llama",
    "/home/claude/runs/checkpoint": None,
    "": None,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_family_that_a_name_tells(name):
    assert family_of(name) == FAMILIES[name]


# -------------------------------------------------------------------------------- our own table
def test_every_line_of_our_table_is_found_by_its_own_name():
    table = tomllib.loads((resources.files("judges") / "models.toml").read_text("utf-8"))
    names = [line["model"] for line in table["models"]]
    assert len(set(names)) == len(names) > 40
    prices = Prices.load()
    for line in table["models"]:
        model = spec(line["model"])
        price, facts = prices.of(model), prices.facts(model)
        assert (None if price is None else price.input) == line.get("input"), line
        assert facts.shutdown == line.get("shutdown")
        assert facts.family in ("gpt", "claude")
        if price is not None:
            assert price.cached_input is not None
            assert price.cached_input < price.input < price.output


def test_the_keys_of_a_file_are_documented():
    assert set(documented("prices.toml", 1)) == {field.name for field in fields(Line)}
    table = tomllib.loads((resources.files("judges") / "models.toml").read_text("utf-8"))
    assert set(table) - {"families"} == set(documented("prices.toml"))
