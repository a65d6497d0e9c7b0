"""PromQL text to the tree of `promql.tree`. The grammar and its type checks come from the library promql-parser.

https://prometheus.io/docs/prometheus/latest/querying/basics/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Final, Literal

import promql_parser as library

from llm_monitor.promql import tree
from llm_monitor.series.selection import NAME, Matcher, MatchOperator

AGGREGATIONS: Final = frozenset(
    ("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar", "quantile", "topk", "bottomk")
)
RANGE_FUNCTIONS: Final = frozenset(
    (
        *("rate", "increase", "irate", "delta", "idelta", "deriv", "changes", "resets"),
        *("avg_over_time", "min_over_time", "max_over_time", "sum_over_time", "count_over_time", "last_over_time"),
        *("quantile_over_time", "stddev_over_time", "stdvar_over_time", "present_over_time", "absent_over_time"),
    )
)
FUNCTIONS: Final = RANGE_FUNCTIONS | frozenset(
    (
        *("abs", "absent", "ceil", "clamp", "clamp_max", "clamp_min", "exp", "floor", "histogram_quantile"),
        *("label_join", "label_replace", "ln", "log10", "log2", "round", "scalar", "sgn", "sort", "sort_desc"),
        *("sqrt", "time", "timestamp", "vector"),
    )
)
OPERATORS: Final = frozenset(
    ("+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<=", "and", "or", "unless"),
)
_SCALAR_FUNCTIONS = ("time", "scalar")
# The library's enumerations cannot be hashed.
_MATCH_OPERATORS: dict[str, MatchOperator] = {
    str(library.MatchOp.Equal): "=",
    str(library.MatchOp.NotEqual): "!=",
    str(library.MatchOp.Re): "=~",
    str(library.MatchOp.NotRe): "!~",
}
_MANY: dict[str, Literal["left", "right"]] = {
    str(library.VectorMatchCardinality.ManyToOne): "left",
    str(library.VectorMatchCardinality.OneToMany): "right",
}


class InvalidExpression(ValueError):
    """The text is no PromQL, or uses a part of it that is not supported. The message says which."""


@dataclass(frozen=True, slots=True)
class Expression:
    text: str
    root: tree.Node

    @property
    def is_scalar(self) -> bool:
        """Return whether the result is one number per step, and not a vector of series."""
        return is_scalar(self.root)

    def metric_names(self) -> set[str]:
        """Return the metric names that its selectors give literally."""
        selectors = (node for node in tree.walk(self.root) if isinstance(node, tree.Selector))
        return {m.value for each in selectors for m in each.matchers if (m.name, m.operator) == (NAME, "=")}


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """Return the expression. Raises InvalidExpression."""
    try:
        root = _node(library.parse(text))
    except InvalidExpression as error:
        raise InvalidExpression(f"{error}, in {text!r}") from None
    except (ValueError, re.error) as error:
        raise InvalidExpression(f"{error}, in {text!r}") from None
    if isinstance(root, tree.Text):
        raise InvalidExpression(f"a string has no samples: {text!r}")
    if isinstance(root, tree.Subquery) or (isinstance(root, tree.Selector) and root.window):
        raise InvalidExpression(f"a range vector needs a function around it, as in rate(…[1m]): {text!r}")
    return Expression(text, root)


def is_scalar(node: tree.Node) -> bool:
    """Return whether a node's result is one number per step."""
    match node:
        case tree.Number():
            return True
        case tree.Call(function):
            return function in _SCALAR_FUNCTIONS
        case tree.Negation(argument):
            return is_scalar(argument)
        case tree.Binary(_, left, right):
            return is_scalar(left) and is_scalar(right)
    return False


def _node(expr: library.Expr) -> tree.Node:
    match expr:
        case library.ParenExpr():
            return _node(expr.expr)
        case library.NumberLiteral():
            return tree.Number(expr.val)
        case library.StringLiteral():
            return tree.Text(expr.val)
        case library.VectorSelector():
            return tree.Selector(_matchers(expr), _shift(expr))
        case library.MatrixSelector():
            selector = expr.vector_selector
            return tree.Selector(_matchers(selector), _shift(selector), expr.range.total_seconds())
        case library.SubqueryExpr():
            return _subquery(expr)
        case library.UnaryExpr():
            return tree.Negation(_node(expr.expr))
        case library.Call():
            return _call(expr)
        case library.AggregateExpr():
            return _aggregation(expr)
        case library.BinaryExpr():
            return _binary(expr)
    raise InvalidExpression(f"{type(expr).__name__} is not supported")


def _matchers(selector: library.VectorSelector) -> tuple[Matcher, ...]:
    if selector.matchers.or_matchers:
        raise InvalidExpression("'or' between label matchers is not supported")
    own = [Matcher(NAME, "=", selector.name)] if selector.name else []
    others = (Matcher(each.name, _MATCH_OPERATORS[str(each.op)], each.value) for each in selector.matchers.matchers)
    return (*own, *others)


def _shift(expr: library.VectorSelector | library.SubqueryExpr) -> tree.Shift:
    offset = (expr.offset or timedelta(0)).total_seconds()
    at = expr.at
    if at is None:
        return tree.Shift(offset)
    if at.type == library.AtModifierType.At and at.at is not None:
        return tree.Shift(offset, at.at.timestamp())
    return tree.Shift(offset, "start" if at.type == library.AtModifierType.Start else "end")


def _subquery(expr: library.SubqueryExpr) -> tree.Node:
    window, step = (None if each is None else each.total_seconds() for each in (expr.range, expr.step))
    if window is None:
        raise InvalidExpression("a subquery needs a range")
    return tree.Subquery(_node(expr.expr), _shift(expr), window, step)


def _call(expr: library.Call) -> tree.Node:
    name = expr.func.name
    if name not in FUNCTIONS:
        raise InvalidExpression(f"the function {name!r} is not supported")
    return tree.Call(name, tuple(_node(argument) for argument in expr.args))


def _aggregation(expr: library.AggregateExpr) -> tree.Node:
    operator = str(expr.op)
    if operator not in AGGREGATIONS:
        raise InvalidExpression(f"the aggregation {operator!r} is not supported")
    modifier = expr.modifier
    return tree.Aggregation(
        operator,
        _node(expr.expr),
        None if expr.param is None else _node(expr.param),
        labels=tuple(modifier.labels) if modifier else (),
        without=modifier is not None and modifier.type == library.AggModifierType.Without,
    )


def _binary(expr: library.BinaryExpr) -> tree.Node:
    operator, modifier = str(expr.op), expr.modifier
    if operator not in OPERATORS:
        raise InvalidExpression(f"the operator {operator!r} is not supported")
    matching = tree.Matching()
    if modifier is not None:
        if modifier.fill_values.lhs is not None or modifier.fill_values.rhs is not None:
            raise InvalidExpression("'fill' is not supported")
        labels = modifier.matching
        matching = tree.Matching(
            tuple(labels.labels) if labels else (),
            on=labels is not None and labels.type == library.LabelModifierType.Include,
            many=_MANY.get(str(modifier.card)),
            include=tuple(modifier.group_labels or ()),
        )
    return tree.Binary(
        operator,
        _node(expr.lhs),
        _node(expr.rhs),
        matching=matching,
        as_bool=modifier is not None and modifier.return_bool,
    )
