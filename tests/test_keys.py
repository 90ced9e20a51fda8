"""Whose key goes where: a panel that came from others sends nobody's key to a server of theirs."""

from __future__ import annotations

import pytest
from conftest import refused
from served_boards import judge_at, own_answers, served_board

from judges.backends.spec import TRUSTED_HOSTS, ModelSpec
from judges.errors import UserError
from judges.kinds.pairwise import Pairwise

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
        ("openai-api/m", "http://127.0.0.1:8000/v1", "EXAMPLE_API_KEY", "EXAMPLE_API_KEY"),
        ("openai-api/m", "http://[::1]:8000/v1", "EXAMPLE_API_KEY", "EXAMPLE_API_KEY"),
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


@pytest.mark.parametrize("spec", ["openai/m", "anthropic/m", "openai-api/m"])
@pytest.mark.parametrize("named", ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MY_BANKS_API_KEY"])
def test_no_key_goes_to_a_server_that_only_a_file_names(spec, named, monkeypatch):
    wanted = f"{spec}: the panel in . wants the key in {named} sent to judges.example.org"
    with pytest.raises(UserError, match=f"{wanted}.* set {TRUSTED_HOSTS}=judges.example.org"):
        variable(spec, base_url=THEIRS, api_key_env=named)
    monkeypatch.setenv(TRUSTED_HOSTS, "example.org,other.org,")
    with pytest.raises(UserError, match=wanted):
        variable(spec, base_url=THEIRS, api_key_env=named)
    monkeypatch.setenv(TRUSTED_HOSTS, "other.org, Judges.Example.org")
    assert variable(spec, base_url=THEIRS, api_key_env=named) == named
    assert variable(spec, base_url=THEIRS) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://judges.example.org/v1",
        "https://judges.example.org.evil.org/v1",
        "https://judges.example.org@evil.org/v1",
        "https://judges.example.org\\@evil.org/v1",
        "https://evil.org\\@judges.example.org/v1",
        "https://evil.org#@judges.example.org/v1",
        "http://127.0.0.1\\@evil.org/v1",
        "http://evil.org\\@127.0.0.1/v1",
        "http://127.0.0.1@evil.org/v1",
        "http://evil.org?@127.0.0.1/v1",
        "http://evil.org",
        "",
    ],
)
def test_trust_in_a_host_is_in_no_other_place(url, monkeypatch):
    monkeypatch.setenv(TRUSTED_HOSTS, "judges.example.org,,127.0.0.1")
    with pytest.raises(UserError, match="wants the key in MY_API_KEY"):
        variable("openai-api/m", base_url=url, api_key_env="MY_API_KEY")


@pytest.mark.usefixtures("api_keys")
def test_nothing_is_called_that_wants_a_key_and_is_not_trusted(serve, leaderboard, tmp_path):
    server = serve()
    judge = judge_at(server, base_url=THEIRS, api_key_env="OPENAI_API_KEY")
    served_board(tmp_path / "results", judge)
    answers = own_answers(tmp_path / "mine.jsonl")
    run = leaderboard("eval", answers, "--board", "toy", "--results", tmp_path / "results")
    refused(run, "judge gpt", "OPENAI_API_KEY", f"{TRUSTED_HOSTS}=judges.example.org")
    assert str(tmp_path / "results" / "toy") in run.err
    assert server.log == []


def test_the_list_of_judges_shows_whose_trust_is_missing(leaderboard, tmp_path, monkeypatch):
    panel = tmp_path / "panel.toml"
    panel.write_text(
        f'[[judges]]\nkind = "pairwise"\nmodel = "openai-api/m"\nbase_url = "{THEIRS}"\n'
        'api_key_env = "MY_API_KEY"\n'
    )
    monkeypatch.setenv("MY_API_KEY", "sk-mine")
    run = leaderboard("judges", "--panel", panel)
    assert run.code == 0, run.err
    assert f"{TRUSTED_HOSTS}=judges.example.org" in " ".join(run.out.split())


def test_other_secrets_are_out_of_reach():
    with pytest.raises(UserError, match="must end in _API_KEY"):
        variable("openai-api/m", base_url=THEIRS, api_key_env="GITHUB_TOKEN")
