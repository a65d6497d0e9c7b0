from __future__ import annotations

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_proxy.request.form import Form

TYPE = "multipart/form-data; boundary=XX"


def body(*parts: str) -> bytes:
    return "".join(f"--XX\r\n{part}\r\n" for part in parts).encode() + b"--XX--\r\n"


def text(name: str, value: str) -> str:
    return f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'


FILE = 'Content-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n\x00--X'


@pytest.mark.parametrize(
    ("raw", "content_type", "model"),
    [
        (body(text("model", "whisper")), TYPE, "whisper"),
        (body(FILE, text("model", "whisper")), TYPE, "whisper"),
        (body(text("model", "whisper"), FILE), 'Multipart/Form-Data; charset=utf-8; boundary="XX"', "whisper"),
        (body("content-disposition: FORM-DATA; name=model\r\n\r\nwhisper"), TYPE, "whisper"),
        (body(text("model", "")), TYPE, ""),
        (body(text("models", "whisper")), TYPE, None),
        (body(text("model", "w" * 2000)), TYPE, None),
        (body('Content-Disposition: form-data; name="model"; filename="x"\r\n\r\nwhisper'), TYPE, None),
        (body(text("model", "whisper")), "multipart/form-data; boundary=YY", None),
        (body(text("model", "whisper")), "multipart/form-data", None),
        (body(text("model", "whisper")), "application/json", None),
        (b"--XX\r\n" + text("model", "whisper").encode(), TYPE, None),
        (b"--XX\r\nname", TYPE, None),
        (b"", TYPE, None),
        (b'{"model": "whisper"}', "application/json", None),
    ],
)
def test_the_value_of_a_text_field(raw: bytes, content_type: str, model: str | None) -> None:
    assert Form(raw, content_type).get("model") == model


def test_another_value_leaves_all_else_as_it_was() -> None:
    raw = body(FILE, text("model", "gpt-4o-transcribe"), text("language", "de"))
    assert Form(raw, TYPE).replaced("model", "whisper") == raw.replace(b"gpt-4o-transcribe", b"whisper")


async def test_the_form_of_a_real_client() -> None:
    data = aiohttp.FormData()
    data.add_field("file", b"\x00\xff" * 5000, filename="a.wav", content_type="audio/wav")
    data.add_field("model", "whisper")
    payload = data()

    class Sink(aiohttp.abc.AbstractStreamWriter):
        def __init__(self) -> None:
            self.raw = b""

        async def write(self, chunk: bytes) -> None:  # type: ignore[override]
            self.raw += chunk

        async def write_eof(self, chunk: bytes = b"") -> None: ...
        async def drain(self) -> None: ...
        def enable_compression(self, *_: object, **__: object) -> None: ...
        def enable_chunking(self) -> None: ...
        async def write_headers(self, *_: object) -> None: ...

    sink = Sink()
    await payload.write(sink)
    assert Form(sink.raw, payload.content_type).get("model") == "whisper"


@given(
    st.lists(st.sampled_from([b"--XX", b"\r\n", b"\r\n\r\n", b'name="model"', b"form-data; ", b"--", b"x", b":", b'"']))
)
def test_any_bytes_have_a_value_or_none(parts: list[bytes]) -> None:
    form = Form(b"".join(parts), TYPE)
    if (value := form.get("model")) is not None:
        assert form.replaced("model", value) == form.raw
