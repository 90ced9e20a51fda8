"""What a user calls a language model, taken apart: provider, name, where it is served.

| written as | is |
| --- | --- |
| `openai/NAME`, `anthropic/NAME` | a model of that provider |
| `openai-api/NAME` with a base URL | any server that speaks OpenAI's chat completions |
| `vllm/PATH_OR_NAME` | a model in this process, run by vLLM |
| `hf/ORG/NAME[@REVISION]`, `path/to/folder` | a model in this process, run by transformers |
| `fake/NAME` | a backend without a model, for tests |
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from judges.errors import UserError

Provider = Literal["openai", "anthropic", "openai-api", "vllm", "transformers", "fake"]
REMOTE = ("openai", "anthropic", "openai-api")
KEY_VARIABLES = {
    "openai": "OPENAI_API_KEY",
    "openai-api": "OPENAI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
}
URL_VARIABLES = {
    "openai": "OPENAI_BASE_URL",
    "openai-api": "OPENAI_BASE_URL",
    "anthropic": "ANTHROPIC_BASE_URL",
}
TRUSTED_HOSTS = "HERDBOOK_TRUSTED_HOSTS"
"""The environment variable that lists, between commas, the hosts to which a file may send keys."""
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_URL = re.compile(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]+)?([/?][!-\[\]-~]*)?", re.I)
"""An address that all read alike: no user, no backslash, no space."""
DEFAULT_URLS = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A language model that can be opened. Two specs with one `key` are the same model."""

    spec: str
    base_url: str | None = None
    """The server, where it is not the provider's own or that of the environment."""
    api_key_env: str | None = None
    """The environment variable that holds the key, where it is not the provider's usual one."""
    asked_by: str = field(default="", compare=False)
    """Who names URL and key variable, where they stand in a file, which may be a stranger's."""
    args: Mapping[str, str] = field(default_factory=dict)
    """For models in this process: adapter, batch_size, chat_template, device, dtype, …"""

    @property
    def provider(self) -> Provider:
        """Said by what stands before the first slash; a folder is one for transformers."""
        first = self.spec.partition("/")[0]
        known: dict[str, Provider] = {
            "openai": "openai",
            "anthropic": "anthropic",
            "openai-api": "openai-api",
            "vllm": "vllm",
            "fake": "fake",
        }
        return known.get(first, "transformers")

    @property
    def name(self) -> str:
        """The model's name as its provider knows it."""
        if self.provider == "transformers":
            return self.spec
        return self.spec.partition("/")[2]

    @property
    def is_remote(self) -> bool:
        return self.provider in REMOTE

    @property
    def key_variable(self) -> str | None:
        """The environment variable that holds the key; None for a model in this process, and for
        a server that a file sends us to without naming a key for it.

        A board that came from others must not have the user's keys sent to a server of theirs. A
        key goes to the provider, to this machine, and to where the environment or a flag says; a
        file alone can name another server for it, over https, only where the user trusts that host
        (TRUSTED_HOSTS), and no variable but one that ends in _API_KEY. Raises UserError for a file
        that asks for more.
        """
        usual = KEY_VARIABLES.get(self.provider)
        if not (self.asked_by and self.is_remote):
            return self.api_key_env or usual
        named = self.api_key_env
        if named is not None and not named.endswith("_API_KEY"):
            raise UserError(
                f"{self.spec}: api_key_env = {named!r} must end in _API_KEY, as a panel may come "
                "from others and must not reach for other secrets"
            )
        if self._is_users_own_place():
            return named or usual
        if named is None:
            return None
        scheme, host = self._scheme_and_host
        where = host or f"an odd address, {self.base_url!r}"
        wanted = f"{self.spec}: {self.asked_by} wants the key in {named} sent to {where}"
        if scheme != "https":
            raise UserError(f"{wanted}, and not over https: so no key is sent")
        if host not in os.environ.get(TRUSTED_HOSTS, "").lower().replace(" ", "").split(","):
            raise UserError(
                f"{wanted}, which only that file names. Where that server is to have that key, "
                f"set {TRUSTED_HOSTS}={host}"
            )
        return named

    @property
    def is_on_this_machine(self) -> bool:
        """Whether the model is in this process, or its server on this machine."""
        if not self.is_remote:
            return True
        return replace(self, base_url=self.url)._scheme_and_host[1] in _LOOPBACK

    def _is_users_own_place(self) -> bool:
        """Whether the URL is the provider's, this machine's, or the environment's."""
        if self.base_url is None:
            return True
        known = (DEFAULT_URLS.get(self.provider), os.environ.get(URL_VARIABLES[self.provider]))
        if self.base_url.rstrip("/") in {url.rstrip("/") for url in known if url}:
            return True
        return self._scheme_and_host[1] in _LOOPBACK

    @property
    def _scheme_and_host(self) -> tuple[str, str]:
        """In small letters; empty for an address that is odd."""
        found = _URL.fullmatch(self.base_url or "")
        return (found[1].lower(), found[2].lower()) if found else ("", "")

    @property
    def url(self) -> str | None:
        """Where the model is served: by the spec, else the environment, else the provider's own.

        Raises UserError for `openai-api/NAME` without a base URL.
        """
        if not self.is_remote:
            return None
        variable = URL_VARIABLES[self.provider]
        found = self.base_url or os.environ.get(variable) or DEFAULT_URLS.get(self.provider)
        if not found:
            raise UserError(
                f"{self.spec}: where is it served? Give base_url (--base-url), or set {variable}"
            )
        return found.rstrip("/")

    @property
    def key(self) -> str:
        """One text for the model at its place, the same for all specs that mean it."""
        args = ",".join(f"{k}={v}" for k, v in sorted(self.args.items()))
        name = self.name if self.is_remote else _absolute(self.name)
        return " ".join([self.provider, name, self.url or "", args]).strip()


def _absolute(name: str) -> str:
    path = Path(name)
    return str(path.resolve()) if path.is_dir() else name
