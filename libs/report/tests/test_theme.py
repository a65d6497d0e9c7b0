import re

from llm_report.theme import style_sheet


def test_every_colour_that_is_used_is_defined_and_dark_redefines_all() -> None:
    css = style_sheet()
    used = set(re.findall(r"var\((--\w+)\)", css)) - {"--hue"}
    light, dark = (set(re.findall(r"(--\w+):", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2])
    assert used <= light
    assert light == dark


def test_it_fetches_nothing() -> None:
    assert "url(" not in style_sheet()
    assert "@import" not in style_sheet()
