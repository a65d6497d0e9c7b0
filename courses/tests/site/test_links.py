"""The check of a built site finds links that lead nowhere and requests that leave the site."""

from __future__ import annotations

from pathlib import Path

from llm_course.site.links import Site

INDEX = """<html><head><link href="style.css" rel="stylesheet"><script src="https://cdn.example/x.js"></script></head><body>
<a href="https://example.org/out">out</a> <a href="mailto:a@b">mail</a> <img src="data:image/png;base64,x">
<a href="#top">top</a>
<a href="sub/page.html#there">there</a> <a href="sub/">folder</a> <a href="sub/page.html#gone">gone</a>
<a href="gone.html">gone</a> <h1 id="top"></h1></body></html>"""


def test_faults_are_named_with_their_page(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "style.css").write_text("")
    (tmp_path / "index.html").write_text(INDEX)
    (tmp_path / "sub" / "page.html").write_text('<p id="there"><a href="../index.html">up</a></p>')
    (tmp_path / "sub" / "index.html").write_text("")
    (tmp_path / "404.html").write_text('<a href="/anywhere">')
    assert list(Site(tmp_path).faults()) == [
        "index.html: fetches https://cdn.example/x.js",
        "index.html: sub/page.html#gone: no such anchor",
        "index.html: gone.html: no such file",
    ]
