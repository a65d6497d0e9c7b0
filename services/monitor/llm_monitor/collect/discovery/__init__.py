"""Find targets: in a file, at a router, in a Kubernetes cluster.

discovery    ask all sources again and again, and tell who wants to know
groups       target groups, the format of files and of HTTP service discovery
sources      a file, and an HTTP address such as the router's /-/targets
kubernetes   pods with annotations
"""

from llm_monitor.collect.discovery.discovery import Discovery, Source
from llm_monitor.collect.discovery.kubernetes import KubernetesSource
from llm_monitor.collect.discovery.sources import FileSource, HttpSource

__all__ = ["Discovery", "FileSource", "HttpSource", "KubernetesSource", "Source"]
