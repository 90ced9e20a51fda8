"""What docs/judges.md shows works as it stands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from conftest import write_rows

from judges.registry import KINDS, packaged_panels
from leaderboard.boards.board import load_board

ROOT = Path(__file__).parents[1]
DOC = (ROOT / "docs" / "judges.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```toml\n# (\S+)\n([\s\S]*?)^```", DOC, re.MULTILINE))


def test_the_files_that_it_shows_make_a_board(leaderboard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert set(FILES) == {"strict.toml", "panel.toml", "strict-prompt.toml"}
    for name, text in FILES.items():
        Path(name).write_text(text, encoding="utf-8")
    prompts = [{"prompt": "Say a.", "gold_answer": "a"}, {"prompt": "Say b.", "gold_answer": "b"}]
    write_rows(Path("prompts.jsonl"), prompts)
    given = ("--prompts", "prompts.jsonl", "--reference", "fake/echo")
    one = leaderboard("board", "new", "one", *given, "--judge", "strict.toml")
    assert one.code == 0, one.err
    (judge,) = load_board("one").panel.judges
    assert (judge.name, judge.ties, judge.extra) == ("strict", False, {"reasoning_effort": "low"})
    panel = ("--panel", "panel.toml", "--judge-model", "judge=fake/judge")
    two = leaderboard("board", "new", "two", *given, *panel)
    assert two.code == 0, two.err
    assert load_board("two").panel.weights == (2, 1)


def test_every_command_that_it_shows_is_one_with_these_flags(leaderboard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(Path("prompts.csv"), [{"prompt": "Say a.", "checks": [{"kind": "words", "max": 2}]}])
    rows = [{"instruction": "Say a.", "output": "a"}]
    write_rows(Path("old.jsonl"), rows)
    blocks = re.findall(r"^```bash\n([\s\S]*?)^```", DOC, re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    commands = [line for line in lines if line.startswith("leaderboard ")]
    assert len(commands) == 6
    order = sorted(commands, key=lambda line: "board new" not in line)  # boards before their judges
    for n, line in enumerate(order):
        words = line.partition("#")[0].split()[1:]
        if words[:2] == ["board", "new"]:
            words[2] = f"{words[2]}{n or ''}"
        run = leaderboard(*words)
        assert run.code == 0, f"{line}\n{run.err}"


def test_it_names_every_kind_panel_and_key():
    for name in (*KINDS, *packaged_panels()):
        assert f"`{name}`" in DOC
    for name, text in FILES.items():
        tomllib.loads(text)
        assert name in DOC


def test_every_file_it_names_is_there():
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", DOC)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
