"""The monitor: what a fleet of engines does, on screen within half a second, and alerts before its users notice.

collect    scrape targets four times a second: engines, gateway, router, GPUs
series     samples in memory, and how every reader selects them
history    downsampled samples on disk, export, recorded incidents
promql     the query language of panels and alerts, evaluated here or by a Prometheus
alerts     rules, their states, and who is notified
boards     panels of the dashboard and of Grafana
web        the dashboard, its live stream and the HTTP API

Read `series`, `promql` and `alerts` first.
"""
