"""Judges by short name and table, panels by file: made as written, or refused with what is known."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from conftest import comparison

from judges.base import presentations
from judges.calling import Caller, Task
from judges.checklist import Checklist
from judges.errors import UserError
from judges.heuristic import Heuristic
from judges.panel import Panel
from judges.recorded import Recorded
from judges.registry import (
    KINDS,
    judge_table,
    make_judge,
    make_panel,
    packaged_panels,
    read_panel,
)

HERE = Path("folder")


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
    ],
)
def test_a_short_name_with_a_fault_is_refused(spec, message):
    with pytest.raises(UserError, match=message):
        judge_table(spec)


def test_every_kind_has_an_identity_that_names_it_and_its_version():
    tables = [{"kind": "checklist"}, {"kind": "heuristic", "rule": "random"}, {"kind": "recorded"}]
    assert {table["kind"] for table in tables} == set(KINDS)
    for table in tables:
        identity = make_judge(table, HERE).identity()
        assert identity["kind"] == table["kind"]
        assert isinstance(identity["version"], int)


def test_packaged_panels_load_and_judge():
    pair = comparison("blue", "red")
    assert "offline" in packaged_panels()
    for path in packaged_panels().values():
        panel = make_panel(read_panel(path), path.parent)
        panel.check([pair.instruction])
        for judge in panel.judges:
            (verdict,) = judge.judge(presentations(judge, [pair], "fixed", 0), Caller(), Task())
            assert verdict.preference is not None
            assert verdict.preference > 0.5


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
        (b'[[judge]]\nkind = "checklist"', "unknown key 'judge'; known: aggregate, judges, schema"),
    ],
)
def test_a_panel_file_with_a_fault_is_named(tmp_path, content, message):
    path = tmp_path / "panel.toml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_panel(path)
    assert str(error.value).count("\n") <= 1
