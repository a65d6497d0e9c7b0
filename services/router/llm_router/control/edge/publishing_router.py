"""The request router of the handles to engines: it passes Serve's list of replicas on.

A handle's request router gets the list, with each replica's metadata, by Serve's long poll. Ours routes nothing but
the few calls of the control plane. Serve pickles this module by value, so it has no state: that is in `publisher`.
"""

from __future__ import annotations

from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from llm_router.control.edge import publisher
from llm_router.fleet.engine import EngineInfo


class PublishingRouter(RequestRouter):  # type: ignore[misc]
    """Publishes the running replicas of one application in its process."""

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        super().update_replicas(replicas)
        infos = [EngineInfo.from_dict(each.replica_metadata) for each in replicas if each.replica_metadata]
        publisher.publish(self._deployment_id.app_name, infos)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        return [candidate_replicas]
