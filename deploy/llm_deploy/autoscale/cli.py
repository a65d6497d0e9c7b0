"""`./lab autoscale`: the certificates of the external metrics, and the simulated day."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from llm_deploy.autoscale import certificates
from llm_deploy.errors import DeployError, UsageError

HOURS = 24.0
"""A simulated day."""


def add_commands(commands: Any) -> None:
    parser = commands.add_parser("autoscale", help="certificates for the HPA's metrics; a simulated day of scaling")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    made = actions.add_parser("certificates", help="print the Secret and the APIService, for kubectl apply -f -")
    made.add_argument("--namespace", default="llm")
    made.add_argument("--client-ca", type=Path, help="requestheader client CA; by default the current cluster is asked")
    made.set_defaults(command=_certificates)
    simulated = actions.add_parser("simulate", help="replay a day under each strategy, and write the results")
    simulated.add_argument("--hours", type=float, default=HOURS)
    simulated.add_argument("--only", default="", help="strategies whose name contains this")
    simulated.add_argument("--json", type=Path, help="file for the results")
    simulated.set_defaults(command=_simulate)


def _certificates(arguments: argparse.Namespace) -> int:
    path = arguments.client_ca
    if path is not None and not path.is_file():
        raise DeployError(f"{path} does not exist")
    client_ca = certificates.client_ca_of_cluster() if path is None else path.read_text(encoding="utf-8")
    print(certificates.manifests(arguments.namespace, client_ca), end="")
    return 0


def _simulate(arguments: argparse.Namespace) -> int:
    from llm_deploy.autoscale import study

    if not 0 < arguments.hours <= HOURS:
        raise UsageError(f"--hours is {arguments.hours:g}; it must be above 0 and at most {HOURS:g}")
    names = [strategy.name for _, strategy, _ in study.cases()]
    if not any(arguments.only in name for name in names):
        raise UsageError(f"no strategy has {arguments.only!r} in its name; there are: {'; '.join(names)}")
    return study.run(hours=arguments.hours, only=arguments.only, file=arguments.json)
