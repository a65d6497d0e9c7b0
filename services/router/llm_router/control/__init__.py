"""The control plane, on Ray Serve: engines on GPUs, rollouts, autoscaling, recovery.

command, local      `llm-router serve`: Ray and Serve on this machine, a configuration, readiness
applications        the two Serve applications, which an entry's import_path names
engine/             a replica with its engine: the child process, its supervisor, its progress
edge/               a replica with an edge server: engine lists in, deploy, scale and status out
rollouts/           plan, watch, roll back, status
scaling/            the number of engines: policy, Serve's options, surge
serve_controller    calls to Serve's controller
cluster, hooks      Ray's nodes and GPUs; the parts of Ray that must be there
"""
