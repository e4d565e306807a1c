"""No value that others may change is read before an `await`, and written back after it: what they wrote would be lost.

self.total += await work()                      reads `total`, waits, writes
self.total = self.total + await work()          the same
before = self.total; await work(); self.total = before + 1
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = sorted(path for folder in ("python", "bench", "tests") for path in (ROOT / folder).rglob("*.py"))


def _shared(target: ast.expr, shared_names: set[str]) -> str | None:
    """The text of a place that other tasks reach: attributes, items, globals, and variables of an outer function."""
    if isinstance(target, ast.Attribute | ast.Subscript) or (
        isinstance(target, ast.Name) and target.id in shared_names
    ):
        return ast.unparse(target)
    return None


def _awaits(node: ast.AST) -> bool:
    return any(isinstance(each, ast.Await) for each in ast.walk(node))


def _reads(node: ast.AST, place: str) -> bool:
    return any(isinstance(each, ast.expr) and ast.unparse(each) == place for each in ast.walk(node))


def _own_statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements of a function in the order of the source, those of inner functions left out."""
    found: list[ast.stmt] = []
    for statement in body:
        found.append(statement)
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for name in ("body", "orelse", "finalbody"):
            found += _own_statements(getattr(statement, name, []))
        for handler in getattr(statement, "handlers", []):
            found += _own_statements(handler.body)
    return found


def _waits(statement: ast.stmt) -> bool:
    """Whether a statement itself waits; of a compound one, its head."""
    if isinstance(statement, ast.AsyncWith | ast.AsyncFor):
        return True
    heads = [getattr(statement, name, None) for name in ("test", "iter", "value", "exc")]
    if isinstance(statement, ast.With):
        heads += [item.context_expr for item in statement.items]
    return any(head is not None and _awaits(head) for head in heads)


def _pairs(statement: ast.stmt) -> list[tuple[ast.expr, ast.expr]]:
    """Targets with what is assigned to them; a tuple's, one by one."""
    if isinstance(statement, ast.AnnAssign) and statement.value is not None:
        return [(statement.target, statement.value)]
    if not isinstance(statement, ast.Assign):
        return []
    pairs = []
    for target in statement.targets:
        if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
            pairs += list(zip(target.elts, statement.value.elts, strict=False))
        else:
            pairs.append((target, statement.value))
    return pairs


def races(source: str) -> list[int]:
    """Lines on which something is written that was read before an `await`."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.AsyncFunctionDef):
            continue
        shared_names = {
            name for each in ast.walk(function) if isinstance(each, ast.Global | ast.Nonlocal) for name in each.names
        }
        copies: dict[str, str] = {}  # local name -> the place that it was read from
        stale: set[str] = set()  # of them, those since which something was awaited
        for statement in _own_statements(function.body):
            if isinstance(statement, ast.AugAssign) and _shared(statement.target, shared_names):
                if _awaits(statement.value):
                    found.append(statement.lineno)
                continue
            pairs = _pairs(statement)
            written = {place for target, _ in pairs if (place := _shared(target, shared_names))}
            for target, value in pairs:
                place = _shared(target, shared_names)
                if place is not None and (
                    (_awaits(value) and _reads(value, place))
                    or any(copies[name] == place and _reads(value, name) for name in stale)
                ):
                    found.append(statement.lineno)
            if _waits(statement):
                stale |= copies.keys()
            for target, value in pairs:
                if isinstance(target, ast.Name):
                    copies.pop(target.id, None)
                    stale.discard(target.id)
                    # What is overwritten in the same statement was taken out, not copied.
                    if isinstance(value, ast.Attribute | ast.Subscript) and ast.unparse(value) not in written:
                        copies[target.id] = ast.unparse(value)
    return sorted(set(found))


@pytest.mark.parametrize(
    "body",
    [
        "self.total += await work()",
        "self.total = self.total + await work()",
        "self.rows['a'] += len(await work())",
        "self.total, other = max(self.total, await work()), 0",
        "before = self.total\n    await work()\n    self.total = before + 1",
        "before = self.total\n    async with lock:\n        self.total = before + 1",
        "before = self.rows[key]\n    if await work():\n        self.rows[key] = [*before, 1]",
        "nonlocal total\n    total += await work()",
    ],
)
def test_a_write_of_what_was_read_before_an_await_is_found(body):
    assert races(f"async def step(self):\n    {body}\n")


@pytest.mark.parametrize(
    "body",
    [
        "grown = await work()\n    self.total += grown",
        "total = 0\n    total += await work()",
        "self.total = await work(self.other)",
        "before = self.total\n    self.total = before + 1\n    await work()",
        "mine, self.pending = self.pending, set()\n    await work(mine)\n    self.pending = self.pending | mine",
        "before = self.total\n    await work()\n    before = self.total\n    self.total = before + 1",
    ],
)
def test_a_write_without_an_await_in_between_is_not_found(body):
    assert not races(f"async def step(self):\n    {body}\n")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_await_stands_between_reading_and_writing_a_shared_value(path):
    assert races(path.read_text(encoding="utf-8")) == []
