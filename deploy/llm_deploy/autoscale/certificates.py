"""The certificate of the external metrics API, and what connects the API server with it.

A CA of its own signs the monitor's certificate; its key is thrown away, so a renewal makes a new CA. The APIService
names the CA. The Secret holds the certificate, and the CA of the API server's proxy client certificate.
"""

from __future__ import annotations

import base64
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from llm_deploy import paths
from llm_deploy.errors import DeployError

APISERVICE = paths.DEPLOY / "kubernetes" / "components" / "autoscaling-hpa" / "apiservice.yaml"
SECRET = "external-metrics-tls"
SERVICE = "external-metrics"
DAYS = 365
EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def manifests(namespace: str, client_ca: str) -> str:
    """Return the Secret and the APIService as YAML. `client_ca` is the PEM text of the requestheader client CA."""
    if "BEGIN CERTIFICATE" not in client_ca:
        raise DeployError("the requestheader client CA is no PEM certificate; see --client-ca")
    with tempfile.TemporaryDirectory() as name:
        files = _issue(Path(name), f"{SERVICE}.{namespace}.svc")
    labels = {"app.kubernetes.io/name": "monitor", "app.kubernetes.io/part-of": "llm-lab"}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": namespace, "labels": labels},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": files["tls.crt"], "tls.key": files["tls.key"], "client-ca.crt": client_ca},
    }
    service: dict[str, Any] = yaml.safe_load(APISERVICE.read_text(encoding="utf-8"))
    service["spec"]["service"]["namespace"] = namespace
    service["spec"]["caBundle"] = base64.b64encode(files["ca.crt"].encode()).decode()
    return yaml.safe_dump_all([secret, service], sort_keys=False)


def client_ca_of_cluster() -> str:
    """Ask the cluster of the current kubectl context for the CA of its proxy client certificate."""
    path = "jsonpath={.data.requestheader-client-ca-file}"
    found = _run("kubectl", "-n", "kube-system", "get", "configmap", "extension-apiserver-authentication", "-o", path)
    if not found:
        raise DeployError("this cluster has no aggregation layer: its API server lacks --requestheader-client-ca-file")
    return found


def _issue(folder: Path, host: str) -> dict[str, str]:
    """Return ca.crt, tls.crt and tls.key, made with openssl."""

    def path(name: str) -> str:
        return str(folder / name)

    _run("openssl", "req", "-x509", *EC, "-days", str(DAYS), "-subj", "/CN=llm external metrics CA",
         "-keyout", path("ca.key"), "-out", path("ca.crt"))  # fmt: skip
    _run("openssl", "req", *EC, "-subj", f"/CN={host}", "-keyout", path("tls.key"), "-out", path("tls.csr"))
    (folder / "names").write_text(f"subjectAltName=DNS:{host},DNS:{host}.cluster.local\nextendedKeyUsage=serverAuth\n")
    _run("openssl", "x509", "-req", "-days", str(DAYS), "-in", path("tls.csr"), "-extfile", path("names"),
         "-CA", path("ca.crt"), "-CAkey", path("ca.key"), "-CAcreateserial", "-out", path("tls.crt"))  # fmt: skip
    return {name: (folder / name).read_text() for name in ("ca.crt", "tls.crt", "tls.key")}


def _run(*command: str) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        raise DeployError(f"{command[0]} is not installed") from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["no message"]
        raise DeployError(f"{command[0]} failed: {lines[-1]}") from None
