"""Checks naming, wording and folder sizes: the rules of CONTRIBUTING.md that no linter knows.

    python .ci/house_rules.py [ROOT]

Prints one line per violation and exits with 1 if there is any. Words and names that were there before their rule are
counted by `BASELINE`, which may only fall.
"""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = Path("python/fleetwire")
MAX_MODULES_PER_FOLDER = 20  # more cannot be taken in at a glance
MAX_MODULES_IN_ROOT = 8
MAX_FILE_LINES = 600

BANNED_WORDS = {
    r"whence": "origin, client",
    r"whoever": "name the caller",
    r"anew": "again, new",
    r"for ever|forever": "without limit, permanently; a loop is `run`",
    r"patience|patient(?:ly)?": "timeout",
    r"strangers?": "unauthenticated client",
    r"lanes?": "connection, queue",
    r"doubts?": "in-doubt commit",
    r"goodbye|farewell": "close, close message",
}
"""Each with a plain word of the field to take instead."""

PLAIN_WORDS = {"in-doubt", "in_doubt", "indoubt"}
"""Terms of the field that hold a banned word."""

BANNED_NAME_PARTS = {
    "ask": "query, request",
    "asked": "requested",
    "asker": "requester, key",
    "tell": "notify, publish",
    "told": "notified, sent",
    "hear": "receive",
    "heard": "received",
    "kept": "cached, stored",
}
"""Verbs of conversation in identifiers; each has a precise verb."""

BASELINE = {"words": 342, "names": 56}
"""Violations that are left from before a rule; lower the number with each one that goes."""

_CHECKED_SUFFIXES = {".py", ".pyi", ".rs", ".ts", ".sql", ".lua", ".md", ".toml", ".yml", ".conf", ".css", ".html"}
_UNCHECKED = re.compile(
    r"^(bench/results/|CHANGELOG\.md$|LICENSE$|\.ci/house_rules\.py$|tests/unit/lint/)|migrations/.*\.sql$|\.lock$"
)
_WORD = re.compile(r"(?<![A-Za-z])(?:" + "|".join(BANNED_WORDS) + r")(?![A-Za-z])", re.IGNORECASE)


def main(root: Path, baseline: Mapping[str, int]) -> int:
    """Runs every check and prints the violations of each rule that has more than its baseline, or less."""
    files = tracked_files(root)
    rules = {
        "words": [*banned_words(root, files)],
        "names": [*banned_names(root)],
        "types": [*duplicate_types(root)],
        "sizes": [*crowded_folders(root, files)],
    }
    failed = False
    for rule, violations in rules.items():
        allowed = baseline.get(rule, 0)
        if len(violations) > allowed:
            print(*violations, sep="\n")
        if len(violations) != allowed:
            failed = True
            print(f"{rule}: {len(violations)} violations, the baseline in .ci/house_rules.py is {allowed}")
    return 1 if failed else 0


def tracked_files(root: Path) -> list[Path]:
    """Returns the files under version control, relative to `root`; outside a repository, every file."""
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=False)  # noqa: S607
    if listed.returncode == 0 and listed.stdout:
        return [Path(name) for name in listed.stdout.splitlines() if (root / name).is_file()]
    return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())


def banned_words(root: Path, files: list[Path]) -> Iterator[str]:
    """Finds words that have a plain one of the field, in code and in prose. Released migrations are never edited."""
    for path in files:
        if path.suffix not in _CHECKED_SUFFIXES or _UNCHECKED.search(path.as_posix()):
            continue
        for number, line in enumerate((root / path).read_text(encoding="utf-8").splitlines(), 1):
            plain = line
            for term in PLAIN_WORDS:
                plain = plain.replace(term, "").replace(term.capitalize(), "")
            if found := _WORD.search(plain):
                yield f"{path}:{number}: the word `{found[0]}`: write {_instead_of(found[0])}"


def _instead_of(word: str) -> str:
    return next(plain for pattern, plain in BANNED_WORDS.items() if re.fullmatch(pattern, word, re.IGNORECASE))


def banned_names(root: Path) -> Iterator[str]:
    """Finds functions, parameters and classes of the package that are named by a verb of conversation."""
    for path, tree in _modules(root):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name = node.name
            elif isinstance(node, ast.arg):
                name = node.arg
            elif isinstance(node, ast.ClassDef):
                name = re.sub(r"(?<!^)(?=[A-Z])", "_", node.name)
            else:
                continue
            for part in name.lower().strip("_").split("_"):
                if part in BANNED_NAME_PARTS:
                    yield f"{path}:{node.lineno}: the name `{name}`: `{part}` is {BANNED_NAME_PARTS[part]}"


def duplicate_types(root: Path) -> Iterator[str]:
    """Finds classes that share their name with another class of the package."""
    places: dict[str, list[str]] = defaultdict(list)
    for path, tree in _modules(root):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(f"{path}:{node.lineno}")
    for name, where in sorted(places.items()):
        if len(where) > 1:
            yield f"{where[0]}: the type `{name}` is also defined at {', '.join(where[1:])}"


def crowded_folders(root: Path, files: list[Path]) -> Iterator[str]:
    """Finds folders with too many modules, and files with too many lines."""
    modules = [path for path in files if path.suffix == ".py" and path.is_relative_to(PACKAGE)]
    folders: dict[Path, int] = defaultdict(int)
    for path in modules:
        folders[path.parent] += path.name != "__init__.py"
    for folder, count in sorted(folders.items()):
        limit = MAX_MODULES_IN_ROOT if folder == PACKAGE else MAX_MODULES_PER_FOLDER
        if count > limit:
            yield f"{folder}: {count} modules, at most {limit}"
    for path in files:
        if path.suffix in {".py", ".rs", ".ts", ".sql"} and not path.is_relative_to("bench/results"):
            lines = (root / path).read_text(encoding="utf-8").count("\n")
            if lines > MAX_FILE_LINES:
                yield f"{path}: {lines} lines, at most {MAX_FILE_LINES}"


def _modules(root: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((root / PACKAGE).rglob("*.py")):
        yield path.relative_to(root), ast.parse(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd(), BASELINE))
