"""Alerts: rules on the samples that the dashboard shows, their states, and who is notified.

settings     objectives, rule files, receivers
rules        files in Prometheus's format, checked as a whole; rules.yaml has the built-in ones
engine       their evaluation each second: pending, firing, resolved, as in Prometheus
silences     label conditions that mute notifications
notify       grouping, repetition, delivery
receivers    webhook, Slack, e-mail, Alertmanager
prometheus   the same rules for a Prometheus
unit_tests   promtool's rule tests, run on this engine
"""

from llm_monitor.alerts.engine import AlertEngine
from llm_monitor.alerts.rules import InvalidRules, Rules, load
from llm_monitor.alerts.settings import AlertSettings
from llm_monitor.alerts.state import Alert

__all__ = ["Alert", "AlertEngine", "AlertSettings", "InvalidRules", "Rules", "load"]
