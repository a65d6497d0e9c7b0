from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from yarl import URL

from llm_proxy.upstream.addresses import BaseUrl, EngineName, base_url, default_name
from llm_proxy.upstream.connection import request_head
from llm_proxy.upstream.pool import Origin

LONG_LABEL = "a" * 64


class Engine(BaseModel):
    """Settings of an engine."""

    url: BaseUrl
    name: EngineName = ""


@pytest.mark.parametrize(
    ("text", "url", "name"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("HTTP://Engine.SVC:8000/", "http://engine.svc:8000", "engine.svc:8000"),
        ("http://engine", "http://engine", "engine:80"),
        ("https://engine", "https://engine", "engine:443"),
        ("http://engine.:1/", "http://engine.:1", "engine.:1"),
        ("http://my_engine-0.svc/base/v", "http://my_engine-0.svc/base/v", "my_engine-0.svc:80"),
        ("http://[::1]:8000", "http://[::1]:8000", "[::1]:8000"),
        ("http://[0:0:0:0:0:0:0:1]", "http://[::1]", "[::1]:80"),
        ("http://bücher.example:8000", "http://xn--bcher-kva.example:8000", "xn--bcher-kva.example:8000"),
        (f"http://{'a' * 63}.svc", f"http://{'a' * 63}.svc", f"{'a' * 63}.svc:80"),
        ("http://host:", "http://host", "host:80"),
    ],
)
def test_a_base_url_and_the_name_it_gives(text: str, url: str, name: str) -> None:
    assert (base_url(text), default_name(url)) == (url, name)
    assert Engine(url=text, name=name).name == name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "does not begin with http"),
        ("localhost:8000", "does not begin with http"),
        ("ftp://engine", "does not begin with http"),
        ("file:///etc/passwd", "does not begin with http"),
        ("http://", "has no host"),
        ("http://:8000", "has no host"),
        ("http://engine..svc:8000", "empty label"),
        ("http://.engine", "empty label"),
        (f"http://{LONG_LABEL}.svc", "a label of 64 characters"),
        (f"http://{'a.' * 130}b", "longer than 253"),
        ("http://-engine", "'-engine' is not a label"),
        ("http://eng!ne", "not a label"),
        ("http://engine:0", "the port '0'"),
        ("http://engine:99999", "the port '99999'"),
        ("http://engine:port", "the port 'port'"),
        ("http://engine:-1", "the port '-1'"),
        (f"http://engine:{'9' * 5000}", "longer than 2048"),
        ("http://engine:٣", "the port"),
        ("http://::1:8000", "needs brackets"),
        ("http://[::1", "IPv6"),
        ("http://[::1]x", "IPv6"),
        ("http://[::g]:80", "IPv6"),
        ("http://[fe80::1%25eth0]:80", "zone"),
        ("http://999.1.1.1", "not an IPv4 address"),
        ("http://1", "not an IPv4 address"),
        (f"http://{'ü' * 70}.example", "is not a host name"),
        ("http://engine:80?x=1", "query or a fragment"),
        ("http://engine:80?", "query or a fragment"),
        ("http://engine:80#x", "query or a fragment"),
        ("http://engine/a b", "spaces or control characters"),
        ("http://engine\r\nx: y", "spaces or control characters"),
        ("http://engine\x00", "spaces or control characters"),
        ('http://engine/"', "its path"),
        ("http://engine/é", "its path"),
    ],
)
def test_what_is_no_base_url_is_refused_with_the_reason(text: str, says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Engine(url=text)
    assert says in str(refused.value.errors()[0]["msg"])


def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValidationError) as refused:
        Engine(url="http://user:hunter2@engine")
    message = refused.value.errors()[0]["msg"]
    assert "api_key" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("name", ["a b", "a\nb", "a/b", "a%0a", "é", "-a", "a" * 129, "\x1b[31m", "a\u2028b"])
def test_a_name_that_would_break_a_header_a_path_or_a_log_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="letters, digits"):
        Engine(url="http://engine", name=name)


pieces = st.sampled_from(
    [
        *("http://", "https://", "[", "]", "::1", ":", "8000", "0", "99999", "..", ".", "a", "@", "%", "/", "?", "#"),
        *("ü", "ß", "。", "\u0130", "\ud800", "٣", "\r\n", " ", "\\", "xn--", "-", "_", "127.0.0.1", "1e3", LONG_LABEL),
    ]
)


@given(st.lists(pieces, max_size=9).map("".join) | st.text(max_size=40).map("http://{}".format))
@example("http://xn--")
@example("http://xn--a.xn--zzzzz")
@example("http://a。。b")
def test_any_text_is_refused_or_can_be_connected_to(text: str) -> None:
    """An accepted address raises no exception in the URL parser, the resolver's codec or the HTTP writer."""
    try:
        url = base_url(text)
    except ValueError:
        return
    assert base_url(url) == url
    origin = Origin(URL(url))
    origin.host.encode("idna")
    assert 1 <= origin.port <= 65535
    request_head("GET", URL(url).joinpath("health", encoded=True).raw_path, origin.netloc, {}, body_length=0)
    assert Engine(url=url, name=default_name(url)).name
