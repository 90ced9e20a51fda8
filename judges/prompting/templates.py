"""Prompts of judges: TOML files with a system and a user turn, and the only way to fill them.

A prompt file has the keys `system` (may be left out) and `user`. In both, `{name}` is replaced
where the judge's kind knows the name; all other braces stay as they are. A name that stands for a
text of others (the conversation, an answer) becomes a framed block: see `judges.prompting.quoting`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from pathlib import Path

from judges.errors import UserError
from judges.prompting.quoting import BEGIN, END, framed, nonce_of
from judges.records import digest, read_toml
from judges.schema import Instruction, Message

DATA = {
    "conversation": "conversation",
    "first": "first answer",
    "second": "second answer",
    "answer": "answer",
    "gold": "correct answer",
    "criteria": "criteria",
}
"""Names in a prompt that stand for texts of others → the label of the frame around them."""

_SPEAKER = {"system": "System", "user": "User", "assistant": "Assistant"}


@dataclass(frozen=True, slots=True)
class Template:
    """The turns of a judge's prompt, with names to be filled in."""

    source: str
    """The file, for messages."""
    user: str
    system: str = ""

    @property
    def digest(self) -> str:
        """Changes with every character of the prompt."""
        return _digest(self.system, self.user)

    @property
    def names(self) -> set[str]:
        """The names in braces; braces around anything else are none."""
        return set(re.findall(r"\{([a-z_]+)\}", self.system + self.user))

    def nonce(self, data: Mapping[str, str]) -> str:
        """The nonce of the prompt that holds these texts of others."""
        return _nonce(self.digest, tuple(data.items()))

    def fill(
        self, data: Mapping[str, str], own: Mapping[str, str] | None = None
    ) -> tuple[tuple[Message, ...], str]:
        """The prompt, and its nonce.

        `data` are texts of others by a name of DATA, `own` texts of ours. In a text of ours
        `{nonce}` may stand as well. Nothing in a text of others is ever replaced. A name whose
        text is empty is taken out, and with it the line where it stands alone.
        """
        nonce = self.nonce(data)
        filled = {name: framed(DATA[name], text, nonce) for name, text in data.items()}
        for name, text in (own or {}).items():
            filled[name] = text.strip().replace("{nonce}", nonce)
        filled["nonce"] = nonce
        empty = tuple(name for name, text in filled.items() if not text)

        def fill(text: str) -> str:
            parts = list(_parts(text, empty))
            parts[1::2] = [filled.get(name, f"{{{name}}}") for name in parts[1::2]]
            return "".join(parts).strip()

        system = fill(self.system)
        turns = [Message("system", system)] if system else []
        return (*turns, Message("user", fill(self.user))), nonce


@lru_cache(maxsize=4096)  # a verdict is read by the nonce that it was asked for with
def _nonce(template: str, data: tuple[tuple[str, str], ...]) -> str:
    return nonce_of([template, *(f"{name}={text}" for name, text in data)])


@lru_cache(maxsize=64)  # the same for nearly every prompt of a judge
def _parts(text: str, empty: tuple[str, ...]) -> tuple[str, ...]:
    """What of a turn stands around the names in it, and every second one a name; without the lines
    where one of the empty stands alone."""
    alone = "|".join(empty) or "(?!)"
    text = re.sub(rf"(?m)^[ \t]*\{{(?:{alone})\}}[ \t]*$\s*", "", text)
    return tuple(re.split(r"\{([a-z_]+)\}", text))


@cache  # every prompt's nonce asks for it
def _digest(system: str, user: str) -> str:
    return digest([system, user])


def read_template(name: str, folder: Path, known: set[str]) -> Template:
    """The prompt file `name` seen from `folder`, else the packaged prompt of that name.

    `known` are the names that the judge's kind fills in. Raises UserError for a file that is
    missing, broken or has none of them.
    """
    packaged = packaged_prompts()
    path = folder / name if name.endswith(".toml") else packaged.get(name)
    if path is None or not path.is_file():
        known_names = ", ".join(sorted(packaged))
        raise UserError(f"prompt {name!r}: no such file in {folder}; packaged: {known_names}")
    table = read_toml(path)
    if unknown := sorted(set(table) - {"system", "user", "schema_version"}):
        raise UserError(f"{path}: unknown key {unknown[0]!r}; known: system, user")
    texts = [table.get("system", ""), table.get("user")]
    if not all(isinstance(text, str) for text in texts) or not str(texts[1]).strip():
        raise UserError(f"{path}: `user` must be a text, and `system` as well where it is there")
    if any(mark in str(text) for text in texts for mark in (BEGIN, END)):
        raise UserError(f"{path}: it holds U+FDD0 or U+FDD1, which mark the texts of others")
    template = Template(str(path), user=str(texts[1]), system=str(texts[0]))
    if not template.names & known:
        raise UserError(f"{path}: none of the names {', '.join(sorted(known))} is in it, in braces")
    return template


def chat_template_file(args: Mapping[str, str], folder: Path) -> Path | None:
    """The file of a judge's `args.chat_template`, seen from `folder`; None where it names none."""
    choice = args.get("chat_template", "plain")
    return None if choice == "plain" else folder / choice


def args_with_digest(args: Mapping[str, str], folder: Path) -> dict[str, str]:
    """A judge's `args` for its identity: a chat template's file is hashed by what it holds.

    Raises UserError for one that cannot be read.
    """
    file = chat_template_file(args, folder)
    if file is None:
        return dict(args)
    try:
        return {**args, "chat_template": digest(file.read_text(encoding="utf-8"))}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"chat template {file}: cannot be read ({reason})") from None


@cache
def packaged_prompts() -> dict[str, Path]:
    """Name → file of the prompts that come with Herdbook."""
    folder = Path(str(resources.files("judges"))) / "prompts"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def conversation(instruction: Instruction) -> str:
    """The turns as a judge reads them: of a single question just its text."""
    if len(instruction.messages) == 1:
        return instruction.text
    return "\n\n".join(f"{_SPEAKER[t.role]}:\n{t.content}" for t in instruction.messages)
