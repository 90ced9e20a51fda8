"""Judges by short name and table, panels by file: made as written, or refused with what is known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from judges.errors import UserError
from judges.kinds.checklist import Checklist
from judges.kinds.heuristic import Heuristic
from judges.kinds.recorded import Recorded
from judges.panel import Panel
from judges.registry import (
    ASKING,
    KINDS,
    judge_table,
    make_judge,
    make_panel,
    read_panel,
)

HERE = Path("folder")
ASKED = {"kind": "pairwise", "model": "fake/judge"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "unknown judge kind None; known: checklist, heuristic, recorded"),
        ({"kind": "oracle"}, "unknown judge kind 'oracle'; known: checklist"),
        ({"kind": ["checklist"]}, "unknown judge kind"),
        (
            {"kind": "checklist", "ties": 1},
            "unknown key 'ties'; known: name, tie_band, temperature",
        ),
        ({"kind": "recorded", "folder": "/"}, "unknown key 'folder'; known: name, path"),
        ({"kind": "heuristic"}, "missing key 'rule'"),
        ({"kind": "heuristic", "rule": "best"}, "rule must be one of longest, shortest, random"),
        ({"kind": "heuristic", "rule": ["longest"]}, "rule must be one of longest"),
        ({"kind": "checklist", "tie_band": "0.1"}, "tie_band must be of type float, not '0.1'"),
        ({"kind": "checklist", "tie_band": True}, "tie_band must be of type float, not True"),
        ({"kind": "checklist", "tie_band": math.nan}, "tie_band must lie in"),
        ({"kind": "checklist", "temperature": 0}, "temperature must lie above 0"),
        ({"kind": "checklist", "name": 5}, "name must be of type str, not 5"),
        ({"kind": "recorded", "path": 5}, "path must be of type str, not 5"),
        ({"kind": "pairwise"}, "missing key 'model'"),
        ({"kind": "pairwise", "model": 5}, "model must be of type str, not 5"),
        ({**ASKED, "temperature": "0"}, "temperature must be of type float, not '0'"),
        ({**ASKED, "temperature": -0.1}, "temperature must not lie below 0"),
        ({**ASKED, "temperature": math.inf}, "temperature must lie in the range of numbers"),
        ({**ASKED, "top_p": 0}, "top_p must lie above 0"),
        ({**ASKED, "max_tokens": 0}, "max_tokens must be 1 or more"),
        ({**ASKED, "max_tokens": 10.5}, "max_tokens must be of type int, not 10.5"),
        ({**ASKED, "seed": True}, "seed must be of type int, not True"),
        ({**ASKED, "extra": "low"}, r"extra must be of type dict\[str, Any\], not 'low'"),
        ({**ASKED, "args": {"dtype": 1}}, r"args must be of type dict\[str, str\]"),
        ({**ASKED, "show_gold": "yes"}, "show_gold must be of type bool, not 'yes'"),
        ({**ASKED, "form": "xml"}, "form must be one of"),
        ({**ASKED, "prompt": "none such"}, "prompt 'none such': no such file"),
        ({**ASKED, "weight": 2}, "unknown key 'weight'"),
        ({**ASKED, "model": "{judge}"}, "leaves its model 'judge' open; .*--judge-model judge="),
    ],
)
def test_a_judge_table_with_a_fault_is_refused_with_what_is_known(table, message):
    with pytest.raises(UserError, match=message):
        make_judge(table, HERE)


@pytest.mark.parametrize(
    ("spec", "judge"),
    [
        ("checklist", Checklist()),
        ("heuristic/longest", Heuristic(rule="longest")),
        ("recorded/made/by people.jsonl", Recorded(path="made/by people.jsonl", folder=HERE)),
    ],
)
def test_short_names_of_judges(spec, judge):
    made = make_judge(judge_table(spec), HERE)
    assert made == judge
    assert made.name == judge.name


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("oracle", "unknown judge 'oracle'; known kinds: checklist, heuristic/longest"),
        ("", "unknown judge ''"),
        ("/checklist", "unknown judge '/checklist'"),
        ("checklist/strict", "write it as checklist$"),
        ("heuristic", r"write it as heuristic/longest\|shortest\|random"),
        ("heuristic/", "write it as heuristic/longest"),
        ("recorded", "write it as recorded/FILE"),
        ("pairwise", "write it as pairwise/MODEL"),
        ("pairwise/openai/x@http://h", "a URL goes with openai-api/NAME only"),
        ("none such.toml", "none such.toml: cannot be read"),
    ],
)
def test_a_short_name_with_a_fault_is_refused(spec, message):
    with pytest.raises(UserError, match=message):
        judge_table(spec)


def test_every_kind_has_an_identity_that_names_it_and_its_version():
    tables = [
        {"kind": "checklist"},
        {"kind": "heuristic", "rule": "random"},
        {"kind": "recorded"},
        {"kind": "synthetic", "name": "own", "temperature": 1.0},
        *({"kind": kind, "model": "fake/judge"} for kind in ASKING),
    ]
    # A reward model and an evaluator config need files: their own tests hold this of them.
    assert {table["kind"] for table in tables} == set(KINDS) - {"reward_model", "alpaca_eval"}
    for table in tables:
        identity = make_judge(table, HERE).identity()
        assert identity["kind"] == table["kind"]
        assert isinstance(identity["version"], int)


def test_a_panel_file_becomes_a_panel(tmp_path):
    path = tmp_path / "panel.toml"
    path.write_text(
        'schema_version = 1\naggregate = "median"\n[[judges]]\nkind = "checklist"\ntie_band = 0\n'
        '[[judges]]\nkind = "recorded"\nname = "people"\npath = "votes.jsonl"\n'
    )
    panel = make_panel(read_panel(path), tmp_path)
    assert panel == Panel(
        (
            Checklist(tie_band=0),
            Recorded(name="people", path="votes.jsonl", folder=tmp_path),
        ),
        "median",
    )
    assert panel.names == ["checklist", "people"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[[judges]\n", r"panel\.toml: not valid TOML \(.*line 1"),
        (b'a = "\xff"', r"panel\.toml: not valid TOML"),
        (b"", r"panel\.toml: a panel needs at least one \[\[judges\]\] table"),
        (b"judges = []", "at least one"),
        (b'judges = ["checklist"]', "at least one"),
        (b'judges = "checklist"', "at least one"),
        (b'[judges]\nkind = "checklist"', "at least one"),
        (
            b'[[judge]]\nkind = "checklist"',
            "unknown key 'judge'; known: aggregate, assign, judges, note, schema",
        ),
    ],
)
def test_a_panel_file_with_a_fault_is_named(tmp_path, content, message):
    path = tmp_path / "panel.toml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_panel(path)
    assert str(error.value).count("\n") <= 1


# ------------------------------------------------------------------------------ judges that ask
def test_a_short_name_writes_the_temperature_out_and_names_the_judge():
    table = judge_table("pairwise/openai/gpt-x-2026-01-01")
    assert table == {"kind": "pairwise", "model": "openai/gpt-x-2026-01-01", "temperature": 0.0}
    assert make_judge(table, HERE).name == "pairwise/openai/gpt-x-2026-01-01"


def test_a_short_name_can_say_where_a_server_is():
    table = judge_table("pointwise/openai-api/org/m@http://127.0.0.1:8000/v1?a=b")
    assert table["model"] == "openai-api/org/m"
    assert table["base_url"] == "http://127.0.0.1:8000/v1?a=b"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("openai/a", "pairwise/openai/a"),
        ("hf/org/name", "pairwise/hf/org/name"),
        ("/home/me/models/org/llama", "pairwise/org/llama"),
        ("./llama", "pairwise/llama"),
        ("vllm//data/org/llama/", "pairwise/vllm/org/llama"),
        ("openai-api/" + "x" * 200, "pairwise/openai-api/" + "x" * 76),
    ],
)
def test_the_name_of_a_judge_holds_its_model_and_no_path_of_this_machine(model, name):
    assert make_judge({"kind": "pairwise", "model": model}, HERE).name == name


def test_a_new_judge_of_a_kind_is_one_file(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "strict.toml").write_text(
        'user = "{conversation} {first} {second} {form}"'
    )
    (tmp_path / "mine" / "judge.toml").write_text(
        'kind = "pairwise"\nmodel = "fake/judge"\nprompt = "strict.toml"\n[extra]\nstop = ["x"]\n'
    )
    judge = make_judge(judge_table(str(tmp_path / "mine" / "judge.toml")), HERE)
    assert judge.name == "judge"
    assert judge.extra == {"stop": ["x"]}
    assert judge.template.user.startswith("{conversation} {first}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[[judges]]\nkind = "checklist"', "is a file of a panel: give it with --panel"),
        ('model = "fake/judge"', "a judge needs a `kind`; known: checklist"),
        ("kind = ", "not valid TOML"),
    ],
)
def test_a_judge_file_with_a_fault_is_named(tmp_path, content, message):
    file = tmp_path / "judge.toml"
    file.write_text(content)
    with pytest.raises(UserError, match=message):
        judge_table(str(file))


def test_a_fault_in_a_panel_file_is_told_with_its_line(tmp_path):
    file = tmp_path / "panel.toml"
    file.write_text('[[judges]]\nkind = "checklist"\n\n[[judges]]\nkind = "pairwise"\nmodel = 5\n')
    with pytest.raises(UserError, match=r"panel\.toml, line 6: judge kind 'pairwise': model must"):
        make_panel(read_panel(file), tmp_path, file)


# ---------------------------------------------------------------------------- weights and assign
WEIGHED = {
    "aggregate": "weighted",
    "judges": [{"kind": "checklist", "weight": 3}, {"kind": "heuristic", "rule": "longest"}],
}


def test_weights_are_of_the_panel_and_in_its_hash():
    panel = make_panel(WEIGHED, HERE)
    assert panel.weights == (3, 1)
    other = make_panel({**WEIGHED, "judges": [{"kind": "checklist"}, WEIGHED["judges"][1]]}, HERE)
    assert other.weights == (1, 1)
    assert panel.identity() != other.identity()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"aggregate": "mean"}, '`weight` and the panel\'s aggregate = "weighted" go together'),
        ({"judges": [{"kind": "checklist", "weight": "3"}]}, "weight must be of type float"),
        ({"judges": [{"kind": "checklist", "weight": 0}]}, "weight must lie above 0"),
        ({"judges": [{"kind": "checklist", "weight": True}]}, "weight must be of type float"),
        ({"assign": "one"}, "with one vote an item there is nothing to weigh"),
        ({"assign": "some"}, "unknown assign 'some'; known: all, one"),
    ],
)
def test_weights_that_mean_nothing_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        make_panel({**WEIGHED, **changes}, HERE)
