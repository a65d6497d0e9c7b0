"""E-mail over SMTP. The standard library's client blocks, so it runs in a thread."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.message import EmailMessage

from llm_monitor.alerts.receivers.receiver import TIMEOUT, DeliveryError, Notification, secret
from llm_monitor.alerts.settings import EmailSettings


class Email:
    grouped = True
    resend = 0.0

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings

    async def send(self, notification: Notification) -> None:
        try:
            await asyncio.to_thread(self._send, notification)
        except smtplib.SMTPResponseException as error:
            raise DeliveryError(f"the mail server answers {error.smtp_code}", final=error.smtp_code >= 500) from None
        except (OSError, smtplib.SMTPException) as error:
            raise DeliveryError(f"the mail server does not take it: {error}") from None

    def _send(self, notification: Notification) -> None:
        settings = self._settings
        with smtplib.SMTP(settings.host, settings.port, timeout=TIMEOUT) as server:
            if settings.starttls:
                server.starttls(context=ssl.create_default_context())
            if settings.password_file is not None:
                server.login(settings.username, secret(settings.password_file))
            server.send_message(self._message(notification))

    def _message(self, notification: Notification) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = " ".join(notification.title.split())
        message["From"] = self._settings.sender
        message["To"] = ", ".join(self._settings.to)
        message.set_content("\n".join([*notification.lines(), "", notification.external_url]))
        return message
