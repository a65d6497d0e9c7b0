"""Fails test_which_gpus_a_build_has_code_for: machine code is taken to run on every newer GPU, as PTX does.

A new generation then gets a wheel without code for it, and the first kernel fails with "no kernel image is available".
"""


def has_kernels(arch: tuple[str, ...], capability: str) -> bool:
    codes = [re.sub(r"\D", "", each) for each in arch]
    return any((int(code[:-1]), int(code[-1])) <= version(capability) for code in codes)
