"""`./lab docs`: serve the site with reload, build it, check it."""

from __future__ import annotations

import argparse

from llm_course.paths import ROOT
from llm_course.site import build
from llm_course.site.generate import generate


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    docs = commands.add_parser("docs", help="the course's pages, served with reload")
    docs.add_argument("--address", default="127.0.0.1:8001", metavar="HOST:PORT", help="default: %(default)s")
    docs.set_defaults(command=lambda arguments: build.serve(arguments.address))
    actions = docs.add_subparsers(metavar="ACTION")
    write = actions.add_parser("build", help="write the site to out/site")
    write.add_argument("--builder", choices=tuple(build.COMMANDS), default="mkdocs", help="default: %(default)s")
    write.set_defaults(command=_build)
    check = actions.add_parser("check", help="build with both builders and open every page in Chromium")
    check.add_argument("-k", dest="only", default="", metavar="EXPRESSION", help="only the tests that it selects")
    check.set_defaults(command=lambda arguments: build.check(arguments.only))
    pages = actions.add_parser("generate", help="write the generated pages only")
    pages.set_defaults(command=_generate)


def _build(arguments: argparse.Namespace) -> None:
    site = build.build(arguments.builder)
    print(f"Open {site / 'index.html'}")


def _generate(_: argparse.Namespace) -> None:
    print(f"{generate(ROOT)} files changed")
