from __future__ import annotations

import pytest

from llm_router import cli


def test_serve_without_ray_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", "main"])
    assert ended.value.code == 2
    assert "serve needs Ray: pip install 'ray[serve]'" in capsys.readouterr().err


def test_an_unknown_command_is_named_with_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["sevre"])
    assert ended.value.code == 2
    assert "unknown command 'sevre'" in capsys.readouterr().err
