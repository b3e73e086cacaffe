"""Give a function the code that another source has for it, in a module that is imported already."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def swapped(module: ModuleType, source: str, line: int) -> Callable[[], None]:
    """Return what gives a module's function, in whose body a line is, a source's code; with all that is within it.

    Whoever has imported the function has that one, too. Raises LookupError where a module has none there.
    """
    found: Any = module
    code = compile(source, str(module.__file__), "exec", dont_inherit=True)
    for name in _path(ast.parse(source).body, line):
        found, code = vars(found)[name], _code(code, name, line)
    function = _function(found)
    if (function.__code__.co_firstlineno, function.__code__.co_freevars) != (code.co_firstlineno, code.co_freevars):
        raise LookupError(f"{module.__name__}:{line}: {function} is another")

    def swap() -> None:
        function.__code__ = code

    return swap


def _path(nodes: Sequence[ast.stmt], line: int) -> list[str]:
    """Return the names that lead to the outermost function around a line."""
    for node in nodes:
        if node.lineno <= line <= (node.end_lineno or 0):
            if isinstance(node, _FUNCTIONS):
                return [node.name]
            if isinstance(node, ast.ClassDef):
                return [node.name, *_path(node.body, line)]
    raise LookupError(f"no function around line {line}")


def _code(code: CodeType, name: str, line: int) -> CodeType:
    """Return what is defined with this name within some code, last before a line."""
    named = [each for each in code.co_consts if isinstance(each, CodeType) and each.co_name == name]
    return max((each for each in named if each.co_firstlineno <= line), key=lambda each: each.co_firstlineno)


def _function(found: Any) -> FunctionType:
    """Return the function itself, beneath its decorators."""
    if isinstance(found, property):
        found = found.fget
    function = inspect.unwrap(getattr(found, "__func__", found))
    if not isinstance(function, FunctionType):
        raise LookupError(f"{function} is no function")
    return function
