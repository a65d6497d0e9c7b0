"""Configuration of Prometheus, Alertmanager and Grafana that is generated from the monitor's rules and boards."""
