"""Fails test_ten_machines_without_a_usable_gpu: without nvidia-smi there is no GPU.

In a container that was started without --gpus the command is missing, and the host's GPU idles next to it.
"""


def gpu_problem(machine: Machine) -> str | None:
    if machine.smi is None:
        return "no gpu"
    if "mismatch" in machine.smi:
        return "driver updated"
    if "communicate" in machine.smi:
        return "driver not loaded"
    if "No devices" in machine.smi:
        return "no devices"
    if machine.visible is not None and machine.visible.strip().split(",")[0] in ("", "-1"):
        return "hidden"
    if machine.torch_cuda is None:
        return "torch for cpus"
    if not driver_runs(driver_of(machine.smi), version(machine.torch_cuda)):
        return "old driver"
    return None if has_kernels(machine.torch_arch, machine.capability) else "no kernels"
