"""Imports go one way: the packages, the layers inside them, and nothing heavy before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("judges", "leaderboard", "train_baselines")

# Module → layer. A folder stands for all modules in it, "" for the package's own __init__.py.
# A module may import modules of its own layer and of lower ones.
METHOD = 4
LAYERS = {
    "judges": {
        "schema": 0,
        "errors": 0,
        "records": 0,
        "reading": 0,
        "criteria": 1,
        "prompting": 2,
        "backends": 3,
        "storage": 4,
        "calling": 5,
        "base": 6,
        "alpaca_eval": 7,
        "asking": 7,
        "kinds": 8,
        "panel": 9,
        "panel_files": 9,
        "registry": 9,
        "": 9,
    },
    "leaderboard": {
        "statistics": 0,
        "user_files": 0,
        "watch": 0,
        "boards": 1,
        "rows": 2,
        "answers": 3,
        "judging": 4,
        "interop": 4,
        "comparing": 5,
        "curation": 6,
        "display": 6,
        "site": 7,
        "evaluation": 8,
        "preferences": 8,
        "validity": 9,
        "rejudging": 9,
        "": 9,
        "commands": 10,
        "cli": 11,
    },
    "train_baselines": {
        "": 0,
        "farm": 0,  # data and annotators, which no trainer needs
        "ops": 0,
        "runtime": 0,
        "data": 1,
        "models": 2,
        "sampling": 3,
        "sft": METHOD,
        "reward_model": METHOD,
        "dpo": METHOD,
        "best_of_n": METHOD,
        "generate": METHOD,
        "expert_iteration": METHOD,
        "rrhf": METHOD,
        "feedme": METHOD,
        "reward_conditioning": METHOD,
        "quark": METHOD,
        "ppo": METHOD,
    },
}
HEAVY = {"torch", "transformers", "vllm", "openai", "anthropic", "sklearn", "gradio"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")
}


def imports_of(source: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything imported, in functions and under TYPE_CHECKING as well."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            for alias in node.names:
                if alias.name == "__version__":  # a constant that any layer may write down
                    continue
                submodule = f"{node.module}.{alias.name}"
                yield node.lineno, submodule if submodule in MODULES else str(node.module)


def layer_of(module: str) -> int:
    package, _, inside = module.partition(".")
    top = inside.partition(".")[0]
    if top not in LAYERS[package]:
        pytest.fail(f"{module} has no layer: add {top!r} to LAYERS[{package!r}] in {__file__}")
    return LAYERS[package][top]


def project_imports() -> Iterator[tuple[str, str, str]]:
    """(where, importing module, imported module) for every import of the project's own modules."""
    for module, path in MODULES.items():
        for line, imported in imports_of(path.read_text(encoding="utf-8")):
            if imported.partition(".")[0] in PACKAGES:
                yield f"{path.relative_to(ROOT)}:{line}: {module}", module, imported


def test_the_walk_sees_every_kind_of_import() -> None:
    source = (
        "import judges.schema as s\n"
        "def f():\n    from leaderboard import boards, evaluate_it\n"
        "if TYPE_CHECKING:\n    from judges.errors import UserError\n"
    )
    assert sorted(imports_of(source)) == [
        (1, "judges.schema"),
        (3, "leaderboard"),
        (3, "leaderboard.boards"),
        (5, "judges.errors"),
    ]
    assert len(list(project_imports())) > 20


def test_packages_meet_only_in_judges() -> None:
    wrong = [
        f"{where} imports {imported}"
        for where, module, imported in project_imports()
        if imported.partition(".")[0] not in {"judges", module.partition(".")[0]}
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", LAYERS)
def test_every_module_has_a_layer(package: str) -> None:
    for module in MODULES:
        if module.partition(".")[0] == package:
            layer_of(module)


def test_no_module_imports_a_higher_layer() -> None:
    wrong = [
        f"{where} (layer {layer_of(module)}) imports {imported} (layer {layer_of(imported)})"
        for where, module, imported in project_imports()
        if module.partition(".")[0] == imported.partition(".")[0]
        and module.partition(".")[0] in LAYERS
        and layer_of(imported) > layer_of(module)
    ]
    assert not wrong, "\n".join(wrong)


def test_methods_import_no_other_method() -> None:
    """A method is one file that can be read alone, and changed without looking at the others."""
    wrong = [
        f"{where} imports {imported}"
        for where, module, imported in project_imports()
        if module.startswith("train_baselines.")
        and imported.startswith("train_baselines.")
        and module != imported
        and layer_of(module) == layer_of(imported) == METHOD
    ]
    assert not wrong, "\n".join(wrong)


def test_statistics_stand_alone() -> None:
    """Pure functions on arrays and frames: no judges, no files, no torch."""
    statistics = [name for name in MODULES if name.startswith("leaderboard.statistics.")]
    assert len(statistics) >= 4
    for module in statistics:
        for line, imported in imports_of(MODULES[module].read_text(encoding="utf-8")):
            root = imported.partition(".")[0]
            known = root in {"numpy", "pandas", "scipy", "sklearn"}
            known = known or root in sys.stdlib_module_names
            assert known or imported.startswith("leaderboard.statistics."), (
                f"{MODULES[module]}:{line} imports {imported}"
            )


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import leaderboard; [getattr(leaderboard, name) for name in leaderboard.__all__]", HEAVY),
        ("from leaderboard.cli import main; sys.exit(main(['--help']))", HEAVY | {"pandas"}),
        ("from leaderboard.cli import main; sys.exit(main(['eval', '--help']))", HEAVY),
        (
            "import judges.prompting.chat, judges.backends.runner, judges.backends.fake;"
            " import judges.backends.transformers",
            HEAVY | {"jinja2", "safetensors"},
        ),
        (
            "from train_baselines.sft import main; sys.exit(main(['--help']))",
            HEAVY - {"torch"} | {"accelerate", "datasets", "peft", "pandas"},
        ),
    ],
    ids=["public names", "--help", "eval --help", "backends", "sft --help"],
)
def test_nothing_heavy_is_imported_before_it_is_used(code: str, heavy: set[str]) -> None:
    report = f"sys.stderr.write(' '.join({heavy!r} & set(sys.modules)))"
    program = f"import sys\ntry:\n    {code}\nfinally:\n    {report}\n"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
