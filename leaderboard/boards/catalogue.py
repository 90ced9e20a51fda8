"""Which boards there are: those in a results folder, and the packaged ones that are copied there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from judges.errors import UserError
from leaderboard.user_files import check_name


def packaged_boards() -> dict[str, Path]:
    """Name → folder of the board templates that come with Herdbook."""
    folder = Path(str(resources.files("leaderboard"))) / "boards" / "packaged"
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/board.toml"))}


def board_names(results: Path) -> list[str]:
    """The boards in a results folder."""
    return sorted(path.parent.name for path in results.glob("*/board.toml"))


def find_board(name: str, results: Path) -> Path:
    """The board's folder; a packaged template is first copied to `results`."""
    path = results / check_name(name, "the board's name")
    if (path / "board.toml").is_file():
        return path
    packaged = packaged_boards()
    if name not in packaged:
        known = sorted({*board_names(results), *packaged})
        raise UserError(
            f"there is no board {name!r} in {results}; known: {', '.join(known)}. "
            f"A new one is made by: leaderboard board new {name} --prompts FILE"
        )
    try:
        with whole_or_not(path) as folder:
            # Without the modes: the installed package may be read-only, the copy must not be.
            for source in sorted(packaged[name].rglob("*")):
                target = folder / source.relative_to(packaged[name])
                if source.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, target)
    except UserError:
        # Another run was faster; a folder of that name that is no board is the user's to clear.
        if not (path / "board.toml").is_file():
            raise UserError(f"{path} is in the way: it is not a board") from None
    return path


@contextmanager
def whole_or_not(path: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `path` in one step at the end, or leaves nothing behind.

    Raises UserError where something has come to stand at `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as temporary:
        folder = Path(temporary) / path.name
        folder.mkdir()
        yield folder
        try:
            folder.rename(path)
        except OSError:
            if path.exists():
                raise UserError(f"{path} is there already; choose another name") from None
            raise
