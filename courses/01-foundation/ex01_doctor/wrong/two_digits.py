"""Fails test_which_gpus_a_build_has_code_for: an architecture is read as two digits, so sm_120 is 1.2.

It was true for fifteen years, up to Hopper.
"""


def has_kernels(arch: tuple[str, ...], capability: str) -> bool:
    device = version(capability)
    for each in arch:
        kind, major, minor, suffix = re.match(r"(sm|compute)_(\d)(\d)\d*([af]?)", each).groups()
        code = (int(major), int(minor))
        if suffix == "a":
            fits = code == device
        elif kind == "compute":
            fits = code <= device
        else:
            fits = code[0] == device[0] and code[1] <= device[1]
        if fits:
            return True
    return False
