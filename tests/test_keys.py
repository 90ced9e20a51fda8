"""Whose key goes where: a panel that came from others sends nobody's key to a server of theirs."""

from __future__ import annotations

import pytest

from judges.backends.spec import ModelSpec
from judges.errors import UserError
from judges.pairwise import Pairwise

THEIRS = "https://judges.example.org/v1"


def variable(spec: str, **settings: str | None) -> str | None:
    return Pairwise(name="j", model=spec, **settings).spec.key_variable  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "url", "named", "found"),
    [
        ("openai/m", None, None, "OPENAI_API_KEY"),
        ("anthropic/m", None, None, "ANTHROPIC_API_KEY"),
        ("openai/m", "https://api.openai.com/v1/", None, "OPENAI_API_KEY"),
        ("openai-api/m", "http://localhost:8000/v1", None, "OPENAI_API_KEY"),
        ("openai-api/m", THEIRS, None, None),
        ("openai/m", THEIRS, None, None),
        ("openai-api/m", THEIRS, "EXAMPLE_API_KEY", "EXAMPLE_API_KEY"),
    ],
)
def test_a_file_gets_the_usual_key_for_the_usual_place(spec, url, named, found):
    assert variable(spec, base_url=url, api_key_env=named) == found


def test_the_environment_and_flags_are_the_users_own(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", THEIRS)
    assert variable("openai-api/m", base_url=THEIRS) == "OPENAI_API_KEY"
    assert variable("openai-api/m") == "OPENAI_API_KEY"
    by_flag = ModelSpec(spec="openai-api/m", base_url="https://other.example.org/v1")
    assert by_flag.key_variable == "OPENAI_API_KEY"


@pytest.mark.parametrize("named", ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"])
def test_a_providers_key_goes_to_no_server_that_only_a_file_names(named):
    with pytest.raises(UserError, match=f"{named} is not sent to {THEIRS}"):
        variable("openai-api/m", base_url=THEIRS, api_key_env=named)


def test_other_secrets_are_out_of_reach():
    with pytest.raises(UserError, match="must end in _API_KEY"):
        variable("openai-api/m", base_url=THEIRS, api_key_env="GITHUB_TOKEN")
