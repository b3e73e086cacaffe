"""Make mutants with cosmic-ray's operators. ``python -m tests.proof.mutation.mutants FILE…`` lists them as JSON.

Only sources are made, in memory: no file is touched.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from .rooms import ROOT

_ALIKE = ("_Is_Eq", "_Eq_Is", "_IsNot_NotEq", "_NotEq_IsNot")
"""Operators that change nothing where members of an enumeration are compared, and else ask how the interpreter keeps
equal constants."""


@dataclass(frozen=True)
class Mutant:
    """One change of a file: the operator's n-th place in it."""

    file: str
    operator: str
    place: int


@dataclass(frozen=True)
class Change:
    """A mutant's source, and the line that differs."""

    source: str
    line: int
    before: str
    after: str


def mutants(file: str) -> Iterator[Mutant]:
    """Find all mutants of a file, also those that change nothing that is ever evaluated."""
    nodes = list(ast_nodes(get_ast(_source(file))))
    for name in plugins.operator_names():
        kind = plugins.get_operator(name)
        if kind.arguments() or name.endswith(_ALIKE):
            continue  # the former have to be told names
        operator = kind()
        places = sum(1 for node in nodes for _ in operator.mutation_positions(node))
        yield from (Mutant(file, name, place) for place in range(places))


def change(mutant: Mutant) -> Change | None:
    """Return what a mutant changes; None: nothing that is evaluated, or cosmic-ray can't make it."""
    original = _source(mutant.file)
    try:
        source = mutate_code(original, plugins.get_operator(mutant.operator)(), mutant.place)
        if source is None or _evaluated(source) == _evaluated(original):
            return None
    except (AttributeError, SyntaxError):  # it takes the name of an exception for one word; ``not`` before ``(``
        return None
    pairs = zip(original.splitlines(), source.splitlines(), strict=False)
    line, (before, after) = next((line, pair) for line, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    return Change(source, line, " ".join(before.split()), " ".join(after.split()))


@cache
def _source(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


@cache
def _evaluated(source: str) -> str:
    """Return what of a source is evaluated, in a form that can be compared."""
    return ast.dump(_WithoutAnnotations().visit(ast.parse(source)))


class _WithoutAnnotations(ast.NodeTransformer):
    """They are never evaluated: every module has ``from __future__ import annotations``."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        """Whether arguments may be given by their place or name is mypy's matter: all calls are right."""
        node.args, node.posonlyargs, node.kwonlyargs = [*node.posonlyargs, *node.args, *node.kwonlyargs], [], []
        node.defaults, node.kw_defaults = [*node.defaults, *filter(None, node.kw_defaults)], []
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:  # ast's name
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:  # ast's name
        node.returns = None
        return self.generic_visit(node)


if __name__ == "__main__":
    json.dump([asdict(mutant) for file in sys.argv[1:] for mutant in mutants(file)], sys.stdout)
