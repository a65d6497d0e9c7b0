"""Fails test_another_minor_version_of_nvcc_will_do: nvcc has to have PyTorch's version to the minor.

PyTorch itself warns about another minor and refuses another major: `torch.utils.cpp_extension._check_cuda_version`.
"""


def diagnose(machine: Machine) -> list[str]:
    found = []
    if not PYTHONS[0] <= version(machine.python)[:2] < PYTHONS[1]:
        found.append("python")
    if (problem := gpu_problem(machine)) is not None:
        found.append(problem)
    if machine.compiler is None:
        found.append("no compiler")
    if machine.torch_cuda is not None:
        toolkit = toolkit_of(machine.nvcc) if machine.nvcc is not None else None
        if toolkit is None:
            found.append("no nvcc")
        elif toolkit != version(machine.torch_cuda):
            found.append("other toolkit")
    return found
