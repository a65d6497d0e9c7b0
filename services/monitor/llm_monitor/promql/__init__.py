"""PromQL: the query language of panels and alert rules, evaluated here or by a Prometheus.

    instant(parse("rate(vllm:generation_tokens_total[1m])"), source, at=time.time())

parse      text to a tree (grammar: the library promql-parser)
evaluate   a tree over a `Source`, at all steps at once with numpy
remote     the same queries, answered by a Prometheus
"""

from llm_monitor.promql.evaluate import instant, query_range
from llm_monitor.promql.parse import Expression, InvalidExpression, parse
from llm_monitor.promql.vectors import EvaluationError, Vector

__all__ = ["EvaluationError", "Expression", "InvalidExpression", "Vector", "instant", "parse", "query_range"]
