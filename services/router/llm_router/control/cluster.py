"""Ray's view of the cluster: nodes and their GPUs."""

from __future__ import annotations

import ray

from llm_router.status import NodeStatus


def nodes() -> tuple[NodeStatus, ...]:
    """Return the living nodes. Blocks for a call to the GCS."""
    free = ray._private.state.available_resources_per_node()
    return tuple(
        NodeStatus(
            id=node["NodeID"],
            address=node["NodeManagerAddress"],
            alive=node["Alive"],
            gpus=node["Resources"].get("GPU", 0),
            gpus_free=free.get(node["NodeID"], {}).get("GPU", 0),
            cpus=node["Resources"].get("CPU", 0),
            cpus_free=free.get(node["NodeID"], {}).get("CPU", 0),
        )
        for node in ray.nodes()
        if node["Alive"]
    )


def free_gpus() -> list[float]:
    """Return the GPUs of each node that nothing has reserved."""
    return [node.gpus_free for node in nodes()]
