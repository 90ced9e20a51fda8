"""The only rendering of a chat to text and to tokens.

Everything that shows a conversation to a model (generation, local judges, reward models, trainers)
comes here, so that all of them show the same tokens.

Text of others between the marks of `judges.prompting.quoting` is data: no template sees it, and no control
token comes out of it, whatever it says. It is encoded together with the text around it, so that a
harmless text has the very tokens that it has without marks. What a template writes as ordinary
text, such as [INST] where that is no token of its own, can still be written by anyone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from judges.errors import UserError
from judges.prompting.quoting import BEGIN, END, pieces
from judges.records import digest
from judges.schema import Message

_LABELS = {"system": "System", "user": "User", "assistant": "Assistant"}

# Templates may write today's date. Answers must not change overnight, so a template that asks for
# the time is told that it is noon of this day (a Wednesday), whatever format it asks for.
_DAY = {
    "%d": "01", "%-d": "1", "%m": "01", "%-m": "1", "%b": "Jan", "%B": "January", "%Y": "2025",
    "%y": "25", "%A": "Wednesday", "%a": "Wed", "%H": "12", "%I": "12", "%p": "PM", "%M": "00",
    "%S": "00", "%j": "001", "%F": "2025-01-01", "%T": "12:00:00",
}  # fmt: skip
_FIXED_DATE = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f"|replace('{code}', '{value}')" for code, value in _DAY.items())
    + " }}{%- endmacro -%}"
)


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """How a conversation becomes a prompt.

    `source` says where the template is from: `tokenizer`, `file PATH` or `plain`. Without `jinja`
    the turns are written one below the other, each under its label. `system_prompt` opens the
    conversations that have no system turn of their own.
    """

    source: str
    jinja: str | None = None
    system_prompt: str | None = None

    def render(
        self, messages: Sequence[Message], tokenizer: Any, *, add_generation_prompt: bool = True
    ) -> str:
        """The conversation as text; with `add_generation_prompt` the assistant's turn is opened.

        `tokenizer` is a Hugging Face tokenizer; a plain template needs none. In a user's turn, a
        space is put into what the tokenizer would read as a control token, so that no text can
        end its own turn. Data of others is left as it is and stands between its marks: `encode`
        takes them out. Raises UserError where the template raises, or loses data.
        """
        if self.system_prompt is not None and all(turn.role != "system" for turn in messages):
            messages = [Message("system", self.system_prompt), *messages]
        control = _control_tokens(tokenizer)
        data: list[str] = []
        turns = [(turn.role, _numbered(turn, control, data)) for turn in messages]
        if self.jinja is None:
            blocks = [f"{_LABELS[role]}:\n{content}" for role, content in turns]
            if add_generation_prompt:
                blocks.append("Assistant:\n")
            return self._put_back("\n\n".join(blocks), data)
        fixed = _FIXED_DATE if "strftime_now" in self.jinja else ""
        try:
            # transformers renders in Jinja's immutable sandbox.
            text = tokenizer.apply_chat_template(
                [{"role": role, "content": content} for role, content in turns],
                chat_template=fixed + self.jinja,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
            )
        except Exception as error:  # noqa: BLE001 - a template is a program of others
            roles = ", ".join(role for role, _ in turns)
            raise UserError(
                f"the chat template ({self.source}) cannot render the turns {roles}: {error}. "
                "Try chat_template=plain, or a template file of your own"
            ) from None
        return self._put_back(str(text), data)

    def _put_back(self, text: str, data: Sequence[str]) -> str:
        """Puts the data at its numbered places, as often as the template shows it."""
        if not data:
            return text
        parts = re.split(f"{BEGIN}([0-9]+){END}", text)
        shown = {int(number) for number in parts[1::2]}
        if shown != set(range(len(data))) or any(m in part for part in parts for m in (BEGIN, END)):
            raise UserError(
                f"the chat template ({self.source}) leaves out or changes a text that a model is "
                "to judge. Try chat_template=plain, or a template file of your own"
            )
        parts[1::2] = [f"{BEGIN}{data[int(number)]}{END}" for number in parts[1::2]]
        return "".join(parts)

    def encode(self, prompt: str, tokenizer: Any) -> list[int]:
        """The token ids of a rendered prompt; data between marks yields no control token.

        The token that begins a text is added where the tokenizer would add it and the prompt does
        not begin with it already, so that it is there once. Raises UserError for data that the
        tokenizer cannot encode without control tokens.
        """
        ids: list[int]
        if BEGIN in prompt:
            ids = _guarded(tokenizer).encode(prompt)
        else:
            ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        bos = tokenizer.bos_token_id
        wanted = bos is not None and tokenizer("", add_special_tokens=True)["input_ids"][:1] == [
            bos
        ]
        return [bos, *ids] if wanted and ids[:1] != [bos] else ids

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end the answer: a model without a chat template goes on with the next turn."""
        return () if self.jinja is not None else ("\n\nUser:\n", "\n\nSystem:\n")

    def end_of_turn(self, tokenizer: Any) -> int | None:
        """The control token that the template writes behind an assistant's turn, where there is one.

        A model trained on the template ends its answer with it, even if it is not the tokenizer's
        end of text.
        """
        if self.jinja is None:
            return None
        mark = "herdbook"
        turns = [Message("user", "?"), Message("assistant", mark)]
        try:
            text = self.render(turns, tokenizer, add_generation_prompt=False)
        except UserError:
            return None
        _, found, behind = text.rpartition(mark)
        if not found or not behind.strip():
            return None
        first = int(tokenizer(behind.lstrip(), add_special_tokens=False)["input_ids"][0])
        return first if first in tokenizer.added_tokens_decoder else None

    def digest(self) -> str:
        """Changes with everything that this template does to a conversation."""
        if self.jinja is not None:
            return digest(["jinja", _FIXED_DATE, self.jinja, self.system_prompt])
        sample = [Message("system", "1"), Message("user", "2"), Message("assistant", "3")]
        wording = ChatTemplate("plain").render(sample, None)
        return digest(["plain", wording, *self.stops, self.system_prompt])


def choose_template(
    tokenizer: Any, *, choice: str | Path | None = None, system_prompt: str | None = None
) -> ChatTemplate:
    """The template to use: `choice` is None for the tokenizer's own, `plain`, or a file.

    A tokenizer without a template gets `plain`. A file is `.jinja`, `.txt`, or `.json` with a
    `chat_template` in it. Raises UserError for a file that is none of these.
    """
    if choice is None:
        jinja = _default_of(tokenizer.chat_template)
        return ChatTemplate("plain" if jinja is None else "tokenizer", jinja, system_prompt)
    if str(choice) == "plain":
        return ChatTemplate("plain", None, system_prompt)
    return ChatTemplate(f"file {choice}", _read_template(Path(choice)), system_prompt)


def _read_template(path: Path) -> str:
    if path.suffix not in (".jinja", ".txt", ".json"):
        raise UserError(
            f"chat template {str(path)!r}: give `plain`, or a file that ends in .jinja, .txt or .json"
        )
    try:
        text = path.read_text(encoding="utf-8")
        template = text if path.suffix != ".json" else json.loads(text)
    except OSError as error:
        raise UserError(f"chat template {path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"chat template {path}: not valid ({error})") from None
    if path.suffix == ".json":
        template = _default_of(
            template.get("chat_template") if isinstance(template, dict) else None
        )
        if template is None:
            raise UserError(f"chat template {path}: no text under the key 'chat_template'")
    if not template.strip():
        raise UserError(f"chat template {path}: the file is empty")
    return str(template)


def _default_of(template: Any) -> str | None:
    """A template, or of several named ones the one called default."""
    if isinstance(template, list):
        named = [entry for entry in template if isinstance(entry, dict)]
        template = {entry.get("name"): entry.get("template") for entry in named}
    if isinstance(template, dict):
        template = template.get("default")
    return template if isinstance(template, str) else None


def _control_tokens(tokenizer: Any) -> list[str]:
    """The texts that the tokenizer reads as control tokens, the longest first."""
    if tokenizer is None:
        return []
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    return sorted((token for token in special if len(token) > 1), key=lambda t: (-len(t), t))


def _numbered(turn: Message, control: Sequence[str], data: list[str]) -> str:
    """The turn's content with a numbered place for each piece of data, which goes into `data`.

    Space at its ends stays outside, where a template that strips its turns can strip it.
    """
    content = ""
    for text, is_data in pieces(turn.content):
        if not is_data:
            content += _defused(text, control) if turn.role == "user" else text
        elif inner := text.strip():
            before, _, after = text.partition(inner)
            content += f"{before}{BEGIN}{len(data)}{END}{after}"
            data.append(inner)
        else:
            content += text
    return content


def _defused(text: str, control: Sequence[str]) -> str:
    """The text with a space behind the first character of every control token in it."""
    if not control:
        return text
    return re.sub("|".join(map(re.escape, control)), lambda m: f"{m[0][0]} {m[0][1:]}", text)


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A copy of a tokenizer in which control tokens have names that no text of others can hold.

    In our own text the tokens are called by these names. Everything else is as in the tokenizer:
    ids, normalisation, the spaces that it puts before words.
    """

    backend: Any
    size: int
    """Of the tokenizer when the copy was made."""
    names: dict[str, str]
    """Control token → its name in the copy."""
    ids: frozenset[int]
    """Control tokens but the one for unknown characters, which any text may hold."""
    calls: re.Pattern[str]

    def encode(self, prompt: str) -> list[int]:
        called = 0
        text = ""
        for part, is_data in pieces(prompt):
            if is_data:
                text += part
            else:
                own, n = self.calls.subn(lambda found: self.names[found[0]], part)
                text, called = text + own, called + n
        ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        if sum(token in self.ids for token in ids) > called:
            raise UserError(
                "the tokenizer makes control tokens of ordinary text; use another model"
            )
        return ids


_guards: WeakKeyDictionary[Any, _Guarded] = WeakKeyDictionary()


def _guarded(tokenizer: Any) -> _Guarded:
    """The tokenizer's guarded copy, made once."""
    found = _guards.get(tokenizer)
    if found is None or found.size != len(tokenizer):
        found = _guards[tokenizer] = _make_guarded(tokenizer)
    return found


def _make_guarded(tokenizer: Any) -> _Guarded:
    from tokenizers import Tokenizer

    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"{type(tokenizer).__name__} cannot encode text of others without control tokens: save "
            "the model with a fast tokenizer (tokenizer.json)"
        )
    held = json.loads(tokenizer.backend_tokenizer.to_str())
    added = held["added_tokens"]
    # Some tokenizers add words or runs of spaces, which are no control tokens; one character alone
    # (a `!` that serves as padding) frames nothing, and the vocabulary has it only once.
    control = [
        token
        for token in added
        if len(token["content"]) > 1
        and (token["special"] or re.search(r"[^\w\s]", token["content"]))
    ]
    names = {token["content"]: f"{BEGIN}{n}{END}" for n, token in enumerate(control)}
    ordered = sorted(control, key=lambda token: -len(token["content"]))
    calls = [
        rf"(?<!\w){re.escape(token['content'])}(?!\w)"
        if token["single_word"]
        else re.escape(token["content"])
        for token in ordered
    ]
    # A model's vocabulary holds most control tokens as well, and without the name of its own a
    # text could be taken apart into them.
    model = held["model"]
    unknown = model.get("unk_token")
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(token, token): n for token, n in model["vocab"].items()}
        model["unk_token"] = names.get(unknown, unknown)
    else:
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    if "merges" in model:
        pairs = [m.split(" ", 1) if isinstance(m, str) else m for m in model["merges"]]
        model["merges"] = [[a, b] for a, b in pairs if not {a, b, a + b}.intersection(names)]
    for token in control:
        token["content"] = names[token["content"]]
        token["normalized"] = token["single_word"] = False
    held["post_processor"] = held["truncation"] = held["padding"] = None
    backend = Tokenizer.from_str(json.dumps(held))
    wrong = [
        text
        for text, name in names.items()
        if backend.token_to_id(name) != tokenizer.convert_tokens_to_ids(text)
    ]
    if wrong:
        raise UserError(f"the tokenizer's control token {wrong[0]!r} cannot be told from text")
    unknown_id = tokenizer.unk_token_id
    ids = frozenset(token["id"] for token in control if token["id"] != unknown_id)
    return _Guarded(
        backend=backend,
        size=len(tokenizer),
        names=names,
        ids=ids,
        calls=re.compile("|".join(calls) or r"(?!)"),
    )
