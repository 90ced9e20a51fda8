"""Text of others inside our prompts: marked, so that nobody takes it for ours.

A prompt is one text in which what others wrote (answers, instructions) stands between two
characters that Unicode keeps for internal use. Backends take the marks out again: one in this
process encodes what stands between them without control tokens, one that talks to a server puts a
space into what servers are known to read as control tokens. What else could hide an order from a
reader, or forge the frame around a text, is taken out here.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable

BEGIN, END = "\ufdd0", "\ufdd1"
"""The marks; `quote` takes them out of what it quotes."""

_PLAIN = re.compile(r"[\t\n -~]*")
_ENDS = "\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
_LINE_END = re.compile(f"\r\n|[{_ENDS}]")

# What nobody can see: control characters but tab and line feed, zero-width and bidirectional
# controls, fillers, tag characters, noncharacters. A joiner or variation selector stays where it
# stands alone, as in Persian, Hindi and emoji; a run of them means nothing but hidden text.
_HIDDEN = (
    "\x00-\x08\x0e-\x1b\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb"
    "\ufffe\uffff"
)
_HIDDEN_ABOVE = (
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
    + "".join(f"{chr(p * 65536 + 0xFFFE)}{chr(p * 65536 + 0xFFFF)}" for p in range(1, 17))
)
_UNSEEN = re.compile(
    f"[{_HIDDEN}{_HIDDEN_ABOVE}]|[\u200c\u200d]{{2,}}|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{{2,}}"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
# None of all these, and nothing above U+FFFF: found out twenty times as fast.
_HARMLESS = re.compile(
    f"[^{_ENDS}{_HIDDEN}\u200c\u200d\ufe00-\ufe0f\ud800-\udfff\U00010000-\U0010ffff]*"
)

# An opening bracket, or what looks like one; how far behind it a frame's first word may end.
_BRACKET = re.compile(
    "[\\[\u2045\u27e6\u2772\u298b\u298d\u298f\u3010\u3014\u3016\u3018\u301a\ufe5d\uff3b]"
)
_LOOK = 24
_FRAME_WORD = re.compile(r"[\W_]*(?:begin|end)(?![a-z])")
_LOOKALIKES = str.maketrans(
    "\u0435\u04bd\u03b5\u0456\u0131\u03b9\u0578\u03b7\u0501\u0261\u0581\u042c\u0184",
    "eeeiiinndggbb",
)

# The control tokens of the chat formats that are known; a server's tokenizer is not known to us.
_CONTROL = re.compile(  # its first character apart, so that all others are passed over quickly
    r"[<\uff1c\[\]](?:(?<=[<\uff1c])(?:"
    r"[|\uff5c][^<>\uff1c\uff1e|\uff5c\s]{1,40}[|\uff5c]?[>\uff1e]"
    r"|[^<>\uff1c\uff1e|\uff5c\s]{1,40}[|\uff5c][>\uff1e]"
    r"|/?(?:s|(?:bos|eos|eot|eom|pad|unk|mask|sep|cls|sop|eop|eod|eoh|eoa)(?:_token|_id)?"
    r"|(?:begin|start|end)_of_\w{1,20}|im_(?:start|end)|seed:\w{1,40}"
    r"|(?:extra_id|special|reserved|unused|ctrl|mask)_?\d+"
    r"|think(?:ing)?|tool_(?:call|response|sep)s?|arg_(?:key|value))>|</?SYS>>)"
    r"|(?<=\[)(?:/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|THINK"
    r"|ARGS|CALL_ID|MODEL_SETTINGS|IMG|PREFIX|MIDDLE|SUFFIX|s?gMASK|BOS|EOS|EOT|CLS|SEP|PAD|MASK|UNK"
    r"|(?:unused|control_)\d+)\]|[|][^\[\]|\s]{1,40}[|]\]|e~\[)"
    r"|(?<=\])~!?b[\[\]])",
    re.IGNORECASE,
)


def seen(text: str) -> str:
    """The text without characters that nobody can see, with plain line ends and valid Unicode."""
    if _PLAIN.fullmatch(text) or _HARMLESS.fullmatch(text):  # nearly all texts are
        return text
    return _SURROGATE.sub("\ufffd", _UNSEEN.sub("", _LINE_END.sub("\n", text)))


def quote(text: str) -> str:
    """The text as data of others, between the marks."""
    return f"{BEGIN}{seen(text)}{END}"


def framed(label: str, text: str, nonce: str) -> str:
    """The text as data of others in a frame that it cannot close: the nonce is not known to it.

    What looks like a line of a frame in the text gets a space behind its bracket all the same.
    """
    inside = seen(text)
    if "[" in inside or not inside.isascii():
        inside = _BRACKET.sub(_apart, inside)
    return f"[begin {label} {nonce}]\n{BEGIN}{inside}{END}\n[end {label} {nonce}]"


def _apart(bracket: re.Match[str]) -> str:
    letters = bracket.string[bracket.end() : bracket.end() + _LOOK].casefold()
    if not letters.isascii():
        letters = unicodedata.normalize("NFKD", letters).casefold().translate(_LOOKALIKES)
        letters = "".join(c for c in letters if not _is_mark(c))
    return f"{bracket[0]} " if _FRAME_WORD.match(letters) else bracket[0]


def _is_mark(character: str) -> bool:
    """Whether it is an accent, a joiner or the like, between letters no gap that one would see."""
    return unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf")


def nonce_of(texts: Iterable[str]) -> str:
    """13 letters and digits that follow from all texts together.

    Whoever writes one of the texts would have to find one that holds its own hash: 2^64 attempts.
    The same texts have the same nonce, so that a prompt can be found in the cache again.
    """
    hashed = hashlib.blake2b(digest_size=8)
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        hashed.update(len(raw).to_bytes(8) + raw)
    number, digits = int.from_bytes(hashed.digest()), ""
    for _ in range(13):
        number, digit = divmod(number, 32)
        digits += "abcdefghijkmnpqrstuvwxyz23456789"[digit]
    return digits


def pieces(content: str) -> list[tuple[str, bool]]:
    """The parts of a prompt in order, each with whether it is data of others; none is empty.

    A mark that has lost its partner makes data of all that follows, never ours of what is data.
    """
    found = []
    for n, part in enumerate(_QUOTED.split(content)):
        if text := part.replace(BEGIN, "").replace(END, ""):
            found.append((text, n % 2 == 1))
    return found


_QUOTED = re.compile(f"({BEGIN}[^{END}]*)")


def without_marks(content: str) -> str:
    """A prompt for people to read."""
    return re.sub(f"[{BEGIN}{END}]", "", content)


def for_server(content: str) -> str:
    """A prompt as it is sent to a server: without marks, known control tokens in data defused."""
    return "".join(_defused(text) if is_data else text for text, is_data in pieces(content))


def _defused(text: str) -> str:
    # Again until nothing is found: one token can stand inside what looked like another.
    while (again := _CONTROL.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)) != text:
        text = again
    return text
