"""Fails test_one_block_does_not_fill_a_gpu: a device counts as full while any kernel runs.

That is what nvidia-smi's GPU-Util measures. One block on one of 132 multiprocessors makes it 100 %.
"""


def filled(kernels: Iterable[Event], num_sms: int, microseconds: float) -> float:
    return covered(kernels) / microseconds
