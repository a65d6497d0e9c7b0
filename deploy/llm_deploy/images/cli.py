"""`./lab images`: build the images, measure them, and list what is in them."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor

from llm_deploy import docker
from llm_deploy.images import base, build, catalog, sbom, wheels

TOGETHER = 2
"""Images that are built at the same time: a build computes, copies and waits in turn."""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    images = commands.add_parser("images", help="build the container images", description=__doc__)
    images.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(catalog.IMAGES)}; all without any")
    images.add_argument(
        "--base",
        metavar="IMAGE",
        help=f"base with Python 3.11, default {base.PULLED}; {base.DEBIAN} makes a stand-in from Debian's packages",
    )
    images.set_defaults(command=_images)


def _images(arguments: argparse.Namespace) -> None:
    images = catalog.find(arguments.names)
    environment = docker.connect()
    with ThreadPoolExecutor(TOGETHER) as pool:
        downloaded = pool.submit(wheels.download, images)
        bases = base.find(arguments.base, environment)
        downloaded.result()
        print(f"{'image':34} {'size':>8} {'bound':>8} {'build':>8}", flush=True)
        for built in pool.map(lambda image: _build(image, bases, environment), images):
            bound = f"{built.image.max_megabytes:5} MB"
            print(f"{built.tag:34} {built.megabytes:5.0f} MB {bound} {built.seconds:6.1f} s", flush=True)
    print("their packages: out/images/*.cdx.json and *.packages.txt")


def _build(image: catalog.Image, bases: base.Base, environment: docker.Environment) -> build.Built:
    built = build.build(image, bases, environment)
    sbom.write(image, build.labels(), environment)
    return built
