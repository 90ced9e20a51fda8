"""The panels that come with Herdbook: they load, judge, and are what they were."""

from __future__ import annotations

from collections import Counter

import pytest
from conftest import comparison

from judges.asking.llm_judge import LLMJudge
from judges.base import presentations
from judges.calling.caller import Caller, Task
from judges.calling.prices import Prices
from judges.panel import Panel
from judges.panel_files import fill_models, model_slots
from judges.records import digest
from judges.registry import make_panel, packaged_panels, read_panel

PANELS = packaged_panels()
SLOTS = {
    "offline": [],
    "local": ["judge"],
    "openai": [],
    "two-providers": [],
    "farm": ["strong", "medium", "weak"],
}
HASHES = {
    "offline": "sha256:59926943c7dd",
}
"""Of panels without a prompt; one whose prompt is worded anew is another panel, which is fine, as
boards hold copies."""


def filled(name: str, model: str = "fake/judge") -> Panel:
    panel = read_panel(PANELS[name])
    given = [model] if model_slots(panel) else []
    return make_panel(fill_models(panel, given), PANELS[name].parent, PANELS[name])


def test_these_are_the_panels():
    assert {name: model_slots(read_panel(file)) for name, file in PANELS.items()} == SLOTS
    assert all(read_panel(file).get("note") for file in PANELS.values())


@pytest.mark.parametrize("name", PANELS)
def test_a_packaged_panel_loads_and_its_prompts_are_there(name):
    panel = filled(name)
    for judge in panel.judges:
        assert not isinstance(judge, LLMJudge) or judge.template.user.strip()
    assert digest(panel.identity()) == digest(filled(name).identity())


@pytest.mark.parametrize("name", HASHES)
def test_a_packaged_panel_hashes_to_what_it_did(name):
    assert digest(filled(name).identity()).startswith(HASHES[name])


@pytest.mark.parametrize(
    "name", [name for name, slots in SLOTS.items() if slots or name == "offline"]
)
def test_a_panel_for_models_of_ones_own_judges(name):
    pair = comparison("blue", "red and much longer, which is what the fake judge goes by" * 5)
    if name == "offline":
        pair = comparison("blue", "red")
    panel = filled(name)
    panel.check([pair.instruction])
    with Caller() as caller:
        for judge in panel.judges:
            shown = presentations(judge, [pair], "fixed", 0)
            (verdict,) = judge.judge(shown, caller, Task())
            assert verdict.error is None
            assert verdict.preference is not None
            assert verdict.preference > 0.5


@pytest.mark.parametrize("name", ["openai", "two-providers"])
def test_models_of_providers_are_pinned_and_have_a_price(name):
    prices = Prices.load()
    for judge in filled(name).judges:
        assert isinstance(judge, LLMJudge)
        facts = prices.facts(judge.spec)
        assert facts.is_alias is False, judge.model
        assert facts.shutdown is None, judge.model
        assert prices.of(judge.spec) is not None, judge.model


def test_the_farm_is_thirteen_members_of_three_strengths_that_differ():
    panel = filled("farm")
    assert len(panel.judges) == 13
    assert panel.assign == "one"
    table = read_panel(PANELS["farm"])["judges"]
    assert Counter(one["model"] for one in table) == {"{strong}": 5, "{medium}": 4, "{weak}": 4}
    assert {one["temperature"] for one in table} == {1.0}
    described = [{key: one[key] for key in one if key != "name"} for one in table]
    assert len({str(one) for one in described}) == 13, "two members are the same"
    assert len({one["prompt"] for one in table}) >= 4
    assert len({one["reasoning"] for one in table}) == 2
    assert sum("persona" in one for one in table) >= 2


def test_the_hash_of_a_panel_follows_its_models_and_not_where_they_are_served():
    one = filled("local", "openai-api/m@http://127.0.0.1:1/v1")
    assert digest(one.identity()) == digest(
        filled("local", "openai-api/m@http://h:2/v1").identity()
    )
    assert digest(one.identity()) != digest(filled("local", "openai-api/n").identity())
