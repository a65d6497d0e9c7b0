from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from llm_monitor.alerts.receivers import DeliveryError, Notification, make
from llm_monitor.alerts.settings import (
    AlertmanagerSettings,
    EmailSettings,
    ReceiverSettings,
    SlackSettings,
    WebhookSettings,
)
from llm_monitor.alerts.state import Alert, State
from llm_monitor.series import labels_of


def alert(instance: str, state: State = "firing") -> Alert:
    return Alert(
        name="Down",
        labels=labels_of({"alertname": "Down", "instance": instance, "severity": "critical"}),
        since=1_760_000_000.5,
        value=float("inf"),
        state=state,
        resolved_at=1_760_000_100 if state == "resolved" else None,
        annotations={"summary": f"<{instance}> is down", "runbook": "http://docs/Down.html"},
    )


NOTIFICATION = Notification(
    (("alertname", "Down"),), (alert("a:1"), alert("b:2", "resolved")), 1_760_000_200, "http://monitor/"
)


class Server:
    def __init__(self) -> None:
        self.status = 200
        self.bodies: list[dict] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.bodies.append(json.loads(await request.read()))
        return web.Response(status=self.status)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    served, app = Server(), web.Application()
    app.router.add_post("/{path:.*}", served.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield served
    await runner.cleanup()


async def send(settings: ReceiverSettings, notification: Notification = NOTIFICATION) -> None:
    async with aiohttp.ClientSession() as session:
        (receiver,) = make([settings], session).values()
        await receiver.send(notification)


@pytest.fixture
def url_file(server: Server, tmp_path: Path) -> Path:
    path = tmp_path / "url"
    path.write_text(f"{server.url}/hook/secret-token\n")
    return path


async def test_a_webhook_gets_alertmanagers_json(server: Server, url_file: Path) -> None:
    await send(WebhookSettings(type="webhook", url_file=url_file))
    (body,) = server.bodies
    assert (body["version"], body["status"], body["groupLabels"]) == ("4", "firing", {"alertname": "Down"})
    assert body["commonLabels"] == {"alertname": "Down", "severity": "critical"}
    firing, resolved = body["alerts"]
    assert (firing["status"], firing["startsAt"]) == ("firing", "2025-10-09T08:53:20.500000Z")
    assert firing["endsAt"] == "0001-01-01T00:00:00Z"
    assert (resolved["status"], resolved["endsAt"]) == ("resolved", "2025-10-09T08:55:00Z")
    assert firing["value"] == "inf"


async def test_slack_gets_a_line_for_each_alert_with_its_runbook(server: Server, url_file: Path) -> None:
    await send(SlackSettings(type="slack", url_file=url_file))
    (body,) = server.bodies
    assert body["text"] == "[FIRING:1] Down"
    assert body["attachments"][0]["text"].splitlines() == [
        "firing: &lt;a:1&gt; is down (http://docs/Down.html)",
        "resolved: &lt;b:2&gt; is down (http://docs/Down.html)",
    ]


async def test_alertmanager_gets_an_end_that_it_takes_for_the_monitors_death(server: Server) -> None:
    await send(AlertmanagerSettings(type="alertmanager", url=server.url))
    firing, resolved = server.bodies[0]
    assert firing["endsAt"] == "2025-10-09T09:00:40Z"  # four resends later
    assert resolved["endsAt"] == "2025-10-09T08:55:00Z"


@pytest.mark.parametrize(("status", "final"), [(500, False), (429, False), (404, True), (302, True)])
async def test_a_refusal_is_an_error_that_does_not_show_the_secret(
    server: Server, url_file: Path, status: int, final: bool
) -> None:
    server.status = status
    with pytest.raises(DeliveryError) as caught:
        await send(WebhookSettings(type="webhook", url_file=url_file))
    assert caught.value.final is final
    assert "secret-token" not in str(caught.value)


async def test_a_secret_can_change_and_must_be_there(server: Server, url_file: Path) -> None:
    settings, write = WebhookSettings(type="webhook", url_file=url_file), url_file.write_text
    write("http://127.0.0.1:9/secret-token")
    with pytest.raises(DeliveryError, match="does not answer") as caught:
        await send(settings)
    assert "secret-token" not in str(caught.value)
    write("no url")
    with pytest.raises(DeliveryError) as caught:
        await send(settings)
    assert caught.value.final
    os.remove(url_file)
    with pytest.raises(DeliveryError, match="cannot be read"):
        await send(settings)
    write(server.url)
    await send(settings)
    assert len(server.bodies) == 1


class MailServer:
    """Just enough SMTP: takes a mail, or answers a code to DATA."""

    def __init__(self) -> None:
        self.code = b"250 ok"
        self.mails: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            command = line[:4].upper()
            if command == b"DATA":
                writer.write(b"354 go on\r\n")
                self.mails.append(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(self.code + b"\r\n")
            else:
                writer.write(b"221 bye\r\n" if command == b"QUIT" else b"250 ok\r\n")
            if command == b"QUIT":
                break
        writer.close()


@pytest.fixture
async def mail_server() -> AsyncIterator[MailServer]:
    served = MailServer()
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    yield served
    server.close()


def email(port: int) -> EmailSettings:
    return EmailSettings(
        type="email", host="127.0.0.1", port=port, sender="monitor@example.org", to=["a@example.org"], starttls=False
    )


async def test_email_has_subject_and_lines(mail_server: MailServer) -> None:
    await send(email(mail_server.port))
    (mail,) = mail_server.mails
    assert b"Subject: [FIRING:1] Down" in mail
    assert b"firing: <a:1> is down (http://docs/Down.html)" in mail


@pytest.mark.parametrize(("code", "final"), [(b"550 no such user", True), (b"451 later", False)])
async def test_a_mail_that_is_refused(mail_server: MailServer, code: bytes, final: bool) -> None:
    mail_server.code = code
    with pytest.raises(DeliveryError, match=code[:3].decode()) as caught:
        await send(email(mail_server.port))
    assert caught.value.final is final


async def test_a_mail_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(DeliveryError, match="mail server"):
        await send(email(port))
