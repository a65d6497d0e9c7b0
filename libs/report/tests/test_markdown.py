from llm_report.markdown import escape, table


def test_a_table_has_numbers_on_the_right() -> None:
    assert table(("name", "n"), [("a", 1), ("b", 2)]) == "| name | n |\n| --- | --: |\n| a | 1 |\n| b | 2 |"


def test_markup_in_a_cell_stays_text() -> None:
    assert escape("a|b <i>*x*\n`y`") == r"a\|b \<i\>\*x\* \`y\`"
