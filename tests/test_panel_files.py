"""Panel files: written so that every key has a line, found again by it, models filled into slots."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.errors import UserError
from judges.panel_files import fill_models, line_of, model_slots, panel_toml
from judges.registry import make_panel, read_panel

OPEN: dict[str, Any] = {
    "judges": [
        {"kind": "pairwise", "name": "a", "model": "{strong}"},
        {"kind": "pairwise", "name": "b", "model": "{weak}"},
        {"kind": "pairwise", "name": "c", "model": "fake/judge"},
        {"kind": "pairwise", "name": "d", "model": "{strong}"},
    ]
}


def models(*given: str) -> list[str]:
    return [table["model"] for table in fill_models(OPEN, given)["judges"]]


def test_models_are_filled_in_by_slot_and_for_the_rest():
    assert model_slots(OPEN) == ["strong", "weak"]
    assert models("strong=openai/a", "weak=hf/x/y") == [
        "openai/a", "hf/x/y", "fake/judge", "openai/a",
    ]  # fmt: skip
    assert models("fake/words") == ["fake/words", "fake/words", "fake/judge", "fake/words"]
    assert models("fake/words", "weak=fake/echo")[1] == "fake/echo"
    assert OPEN["judges"][0]["model"] == "{strong}", "the panel itself is left as it is"


def test_a_server_can_be_named_with_the_model():
    filled = fill_models(
        OPEN, ["strong=openai-api/m@http://h:1/v1", "weak=openai-api/n@https://k/?a=b"]
    )
    assert filled["judges"][0]["base_url"] == "http://h:1/v1"
    assert filled["judges"][1]["base_url"] == "https://k/?a=b"
    assert "base_url" not in filled["judges"][2]


@pytest.mark.parametrize(
    ("given_models", "message"),
    [
        ([], r"open: strong, weak\. .* --judge-model \[SLOT=\]MODEL, .* strong=openai/NAME"),
        (["strong=openai/a"], "open: weak"),
        (["medium=openai/a"], "no model 'medium'; it has strong, weak"),
        (["strong="], "the model is missing"),
        (["openai/a", "openai/b"], "a second one for all models"),
        (["weak=openai/a", "weak=openai/b", "openai/c"], "a second one for weak"),
        (["openai/a@http://h"], "a URL goes with openai-api/NAME only"),
    ],
)
def test_models_that_do_not_fit_the_slots_are_refused(given_models, message):
    with pytest.raises(UserError, match=message):
        fill_models(OPEN, given_models)


def test_a_panel_without_slots_takes_no_models():
    with pytest.raises(UserError, match="leaves no model open"):
        fill_models({"judges": [{"kind": "checklist"}]}, ["openai/a"])


JUDGE = {
    "kind": "pairwise",
    "model": "fake/judge",
    "name": "j",
    "temperature": 0.0,
    "extra": {"reasoning": {"effort": "low"}, "stop": ["a"]},
    "persona": "a = b\n[[judges]]\ntemperature = 9",
}


def test_a_written_panel_is_the_same_panel_with_a_line_for_every_key(tmp_path):
    panel = {"aggregate": "median", "judges": [JUDGE, {"kind": "checklist", "tie_band": 0.1}]}
    file = tmp_path / "panel.toml"
    file.write_text(panel_toml(panel), encoding="utf-8")
    assert read_panel(file) == {"schema_version": 1, **panel}
    lines = file.read_text(encoding="utf-8").splitlines()
    for n, key in [(0, "kind"), (0, "temperature"), (0, "persona"), (1, "tie_band"), (1, "kind")]:
        line = line_of(file, n, key)
        assert line is not None
        assert lines[line - 1].startswith(f"{key} = ")
    stop = line_of(file, 0, "extra.stop")
    assert stop is not None
    assert lines[stop - 1].startswith("stop = ")
    assert [line for line in lines if "delete this line" in line] == [
        "temperature = 0.0  # delete this line where the server refuses it"
    ]
    assert line_of(file, 1, "temperature") is None
    assert line_of(file, 2, "kind") is None


def test_keys_of_inline_tables_are_found(tmp_path):
    file = tmp_path / "panel.toml"
    file.write_text(
        'judges = [\n    { kind = "checklist" },\n    { kind = "pairwise", temperature = 0.0 },\n]\n'
    )
    assert line_of(file, 1, "temperature") == 3
    assert line_of(file, 0, "temperature") is None
    file.write_text('[[judges]]\nkind = "pairwise"\nextra = { effort = "low" }\n')
    assert line_of(file, 0, "extra.effort") == 3


def test_keys_of_a_judge_file_are_found(tmp_path):
    file = tmp_path / "judge.toml"
    file.write_text('# mine\nkind = "pairwise"\ntemperature = 0\n[extra]\neffort = 1\n')
    assert line_of(file, 0, "temperature") == 3
    assert line_of(file, 0, "extra.effort") == 5
    assert line_of(file, 0, "effort") is None


@given(st.text(), st.text())
def test_any_text_survives_being_written(name, persona):
    panel = {
        "judges": [{"kind": "pairwise", "model": "fake/judge", "name": name, "persona": persona}]
    }
    assert tomllib.loads(panel_toml(panel))["judges"] == panel["judges"]


def test_a_written_panel_judges_as_the_one_it_was_written_from(tmp_path):
    panel = {"judges": [JUDGE]}
    file = tmp_path / "panel.toml"
    file.write_text(panel_toml(panel), encoding="utf-8")
    assert (
        make_panel(read_panel(file), tmp_path).identity() == make_panel(panel, tmp_path).identity()
    )
