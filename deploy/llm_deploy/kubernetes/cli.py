"""`./lab cluster`: a real one-node Kubernetes on this machine."""

from __future__ import annotations

import argparse

from llm_deploy.kubernetes.cluster import control
from llm_deploy.kubernetes.cluster.layout import Layout


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    cluster = commands.add_parser("cluster", help="a one-node Kubernetes on this machine, for tests (root)")
    verbs = cluster.add_subparsers(title="verbs", metavar="VERB", required=True)
    verbs.add_parser("up", help="start it and print its KUBECONFIG").set_defaults(command=up)
    verbs.add_parser("down", help="stop it and remove its containers and data").set_defaults(command=down)
    verbs.add_parser("status", help="which of its programs run").set_defaults(command=status)
    load_parser = verbs.add_parser("load", help="give it images of the Docker daemon")
    load_parser.add_argument("images", nargs="+", metavar="IMAGE")
    load_parser.set_defaults(command=load)


def up(_: argparse.Namespace) -> None:
    print(f"export KUBECONFIG={control.up(Layout())}")


def down(_: argparse.Namespace) -> None:
    control.down(Layout())


def status(_: argparse.Namespace) -> int:
    """Print the programs, one a line. Exit status 1 if one of them does not run."""
    programs = control.status(Layout())
    for name, runs in programs.items():
        print(f"{name:12} {'running' if runs else 'stopped'}")
    return 0 if all(programs.values()) else 1


def load(arguments: argparse.Namespace) -> None:
    control.load(Layout(), arguments.images)
