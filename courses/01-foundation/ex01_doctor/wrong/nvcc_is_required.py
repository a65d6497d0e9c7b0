"""Fails test_a_laptop_needs_no_nvcc: every machine has to have the CUDA toolkit.

Installation guides begin with it. A wheel brings CUDA's libraries along, and a PyTorch for CPUs needs none.
"""


def diagnose(machine: Machine) -> list[str]:
    found = []
    if not PYTHONS[0] <= version(machine.python)[:2] < PYTHONS[1]:
        found.append("python")
    if (problem := gpu_problem(machine)) is not None:
        found.append(problem)
    if machine.compiler is None:
        found.append("no compiler")
    toolkit = toolkit_of(machine.nvcc) if machine.nvcc is not None else None
    if toolkit is None:
        found.append("no nvcc")
    elif machine.torch_cuda is not None and toolkit[0] != version(machine.torch_cuda)[0]:
        found.append("other toolkit")
    return found
