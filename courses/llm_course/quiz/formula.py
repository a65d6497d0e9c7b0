"""Arithmetic of number questions: expressions over named values, evaluated without Python's `eval`."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from llm_course.errors import CourseError

Value = int | float
Functions = Mapping[str, Callable[..., Value]]

ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
COMPARISON: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
FUNCTIONS: Functions = {
    "ceil": math.ceil,
    "floor": math.floor,
    "round": round,
    "min": min,
    "max": max,
    "log2": math.log2,
    "sqrt": math.sqrt,
}


def evaluate(formula: str, values: Mapping[str, Value], functions: Functions | None = None) -> Value:
    """Return the formula's value; CourseError if it does not parse, or names what is not there."""
    try:
        tree = ast.parse(formula.strip(), mode="eval")
    except SyntaxError as error:
        raise CourseError(f"formula {formula!r}: {error.msg}") from None
    try:
        value: Value = _Evaluation(values, {**FUNCTIONS, **(functions or {})}).value(tree.body)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise CourseError(f"formula {formula!r}: {error}") from None
    return value


class _Evaluation:
    def __init__(self, values: Mapping[str, Value], functions: Functions) -> None:
        self._values, self._functions = values, functions

    def value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
            return node.value
        if isinstance(node, ast.Name):
            if node.id not in self._values:
                raise ValueError(f"there is no {node.id}; there are {', '.join(self._values) or 'no names'}")
            return self._values[node.id]
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -self.value(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            return ARITHMETIC[type(node.op)](self.value(node.left), self.value(node.right))
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISON:
            return COMPARISON[type(node.ops[0])](self.value(node.left), self.value(node.comparators[0]))
        if isinstance(node, ast.IfExp):
            return self.value(node.body if self.value(node.test) else node.orelse)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return self._call(node.func.id, [self.value(argument) for argument in node.args])
        raise ValueError(f"{ast.unparse(node)} is not allowed; a formula has numbers, names, + - * / // % ** and calls")

    def _call(self, name: str, arguments: list[Any]) -> Any:
        if name not in self._functions:
            raise ValueError(f"there is no function {name}; there are {', '.join(self._functions)}")
        return self._functions[name](*arguments)
