"""Fails test_a_driver_runs_newer_minor_versions: the driver's own CUDA version is taken for the newest that it runs.

It is the number that nvidia-smi prints in its corner, and the commonest wrong reason to reinstall a driver. Minor
versions are compatible within a major since CUDA 11.
"""


def driver_runs(driver: Version, cuda: Version) -> bool:
    came_with = {450: (11, 0), 470: (11, 4), 525: (12, 0), 535: (12, 2), 550: (12, 4), 570: (12, 8), 580: (13, 0)}
    newest = max((own for branch, own in came_with.items() if branch <= driver[0]), default=(0, 0))
    return cuda <= newest
