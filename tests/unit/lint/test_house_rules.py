"""Each rule of `.ci/house_rules.py` finds a planted violation, and nothing in a clean tree."""

import importlib.util
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


def _load():
    spec = importlib.util.spec_from_file_location("house_rules", REPOSITORY / ".ci/house_rules.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rules = _load()


@pytest.fixture
def tree(tmp_path):
    package = tmp_path / "python/fleetwire/store"
    package.mkdir(parents=True)
    (package / "writer.py").write_text('"""Stores batches."""\n\n\nclass Writer:\n    """Stores batches."""\n')
    return tmp_path


def violations(tree, capsys):
    code = rules.main(tree, {})
    lines = capsys.readouterr().out.splitlines()
    assert code == (1 if lines else 0)
    return [line for line in lines if "the baseline in" not in line]


def test_a_clean_tree_has_no_violation(tree, capsys):
    assert violations(tree, capsys) == []


@pytest.mark.parametrize(
    "line",
    [
        "# Whoever asks.",
        "# It goes on for ever.",
        "class Stranger:\n    pass",
        "lane = 1",
        "# Without a doubt.",
        "# Anew.",
    ],
)
def test_a_banned_word_is_found_in_code_and_comments(tree, capsys, line):
    (tree / "python/fleetwire/store/odd.py").write_text(line + "\n")
    (found,) = violations(tree, capsys)
    assert found.startswith("python/fleetwire/store/odd.py:1: the word")


@pytest.mark.parametrize("name", ["README.md", "rust_core/src/lib.rs", "console/src/map.ts", "deploy/nginx.conf"])
def test_a_banned_word_is_found_in_every_language(tree, capsys, name):
    path = tree / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("first line\nwhence it came\n")
    (found,) = violations(tree, capsys)
    assert found.startswith(f"{name}:2: the word `whence`")


def test_the_standard_term_in_doubt_is_allowed(tree, capsys):
    (tree / "python/fleetwire/store/odd.py").write_text("# An in-doubt commit is looked up; in_doubt counts them.\n")
    assert violations(tree, capsys) == []


@pytest.mark.parametrize(
    "name", ["def _tell(): ...", "def f(heard): ...", "class KeptAnswer: ...", "async def ask_all(): ..."]
)
def test_a_name_of_conversation_is_found(tree, capsys, name):
    (tree / "python/fleetwire/store/odd.py").write_text(name + "\n")
    (found,) = violations(tree, capsys)
    assert "the name" in found


def test_two_types_of_one_name_are_found(tree, capsys):
    (tree / "python/fleetwire/store/odd.py").write_text("class Writer: ...\n")
    (found,) = violations(tree, capsys)
    assert "the type `Writer` is also defined at" in found


def test_a_crowded_folder_is_found(tree, capsys):
    for number in range(rules.MAX_MODULES_PER_FOLDER):
        (tree / f"python/fleetwire/store/part{number}.py").write_text("")
    assert violations(tree, capsys) == ["python/fleetwire/store: 21 modules, at most 20"]


def test_a_crowded_root_is_found(tree, capsys):
    for number in range(rules.MAX_MODULES_IN_ROOT + 1):
        (tree / f"python/fleetwire/part{number}.py").write_text("")
    assert violations(tree, capsys) == ["python/fleetwire: 9 modules, at most 8"]


def test_a_long_file_is_found(tree, capsys):
    (tree / "python/fleetwire/store/odd.py").write_text("\n" * (rules.MAX_FILE_LINES + 1))
    assert violations(tree, capsys) == ["python/fleetwire/store/odd.py: 601 lines, at most 600"]


def test_more_or_fewer_violations_than_the_baseline_fail(tree, capsys):
    (tree / "python/fleetwire/store/odd.py").write_text("# Anew.\n# For ever.\n")
    assert rules.main(tree, {"words": 2}) == 0
    assert rules.main(tree, {"words": 1}) == 1
    assert rules.main(tree, {"words": 3}) == 1
    assert "words: 2 violations, the baseline in .ci/house_rules.py is 3" in capsys.readouterr().out
