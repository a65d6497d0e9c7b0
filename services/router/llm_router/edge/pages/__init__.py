"""Pages about the edge itself: nothing here reaches the path of a request.

models     /v1/models: all models of the fleet, those without an engine included
health     /health, /ready, and what KubeRay asks of a Serve proxy: /-/healthz, /-/routes
status     /-/status: the live state of this edge and of the control plane; /-/, which draws it; /-/targets
admin      the admin API: deploy and scale
"""
