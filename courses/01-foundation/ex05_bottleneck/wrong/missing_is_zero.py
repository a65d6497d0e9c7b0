"""Fails test_smi_has_units_and_holes: a value that is not there reads as 0.

A fan that does not exist stands still, and the mean of a column falls with each reading that is missing.
"""


def read_smi(text: str) -> list[dict[str, float | None]]:
    rows = []
    for row in csv.DictReader(text.strip().splitlines(), skipinitialspace=True):
        values = {key.split()[0]: value for key, value in row.items() if key != "timestamp"}
        rows.append({key: 0.0 if value.startswith("[") else float(value.split()[0]) for key, value in values.items()})
    return rows
