"""What the README shows is what the program prints, and what it names is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Finished

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONSOLES = re.findall(r"^```console\n\$ leaderboard (.*)\n([\s\S]*?)^```", README, re.MULTILINE)


def test_every_console_shows_what_is_printed(
    leaderboard: Callable[..., Finished], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(CONSOLES) >= 2
    for command, shown in CONSOLES:
        finished = leaderboard(*shlex.split(command))
        assert finished.code == 0, finished.err
        for part in shown.strip("\n").split("…\n"):  # "…" stands for lines left out
            assert part in finished.out


def test_every_file_it_names_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_command_of_the_command_line_is_there(leaderboard: Callable[..., Finished]) -> None:
    blocks = re.findall(r"^```bash\n([\s\S]*?)^```", README, re.MULTILINE)
    commands = re.findall(r"^leaderboard (board \w+|\w+)", "\n".join(blocks), re.MULTILINE)
    assert len(commands) > 5
    for command in set(commands):
        with pytest.raises(SystemExit) as exit_:
            leaderboard(*command.split(), "--help")
        assert exit_.value.code == 0


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 250
