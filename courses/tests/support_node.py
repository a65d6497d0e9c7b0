"""Runs the site's scripts under node, with the little of a browser that they touch outside elements."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest

from llm_course.paths import DOCS

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node runs the site's scripts")

BROWSER = """
const vm = require("vm"), fs = require("fs");
const values = {};
const window = {
  localStorage: {
    getItem: (key) => (key in values ? values[key] : null),
    setItem: (key, value) => { values[key] = String(value); },
    removeItem: (key) => { delete values[key]; },
  },
  addEventListener() {},
};
class HTMLElement {}
const document = { addEventListener() {}, hidden: false };
const customElements = { get: () => undefined, define() {} };
const context = vm.createContext({ window, document, customElements, HTMLElement, URL, console,
  location: { href: "file:///site/modules/02-core-concepts/block-manager.html" } });
window.document = document;
const { scripts, code, given } = JSON.parse(fs.readFileSync(0, "utf-8"));
scripts.forEach((path) => vm.runInContext(fs.readFileSync(path, "utf-8"), context, { filename: path }));
context.given = given;
const result = vm.runInContext(`(function (course, given) { ${code} })(window.course, given)`, context);
process.stdout.write(JSON.stringify(result === undefined ? null : result));
"""
SCRIPTS = ("ui", "store", "quiz", "fsrs", "cards", "prediction", "criteria", "progress")


def in_browser(code: str, given: Any = None) -> Any:
    """Return what the JavaScript returns; it has `course`, with every script of ours loaded, and `given`."""
    scripts = [str(DOCS / "assets" / "js" / f"{name}.js") for name in SCRIPTS]
    task = json.dumps({"scripts": scripts, "code": code, "given": given})
    done = subprocess.run(["node", "-e", BROWSER], input=task, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
