"""Several gateways in front of the same engines, with one order and one set of limits, through Redis.

Each gateway is a replica with its own queue, policy and connections. It shares little: a *bid* for each waiting
request, with the request's key on fleet time (p + a * t under aging; t is Redis's clock, see clock.py), the limit of
each engine that it can use, and the number of permits that it holds. A replica reports its changes in one call at a
time. An atomic script (order.lua) turns them into grants: while an engine has room, the best bid of all replicas gets a
permit. Grants to the caller come back in the reply. Grants to other replicas are stored, and a publication wakes those
to collect them. A grant is a slot of an engine, not an order to serve a certain request: the replica gives it to its
best request.

client.py    the replica's side: reports changes, hands out grants, joins, falls back   order.lua    the shared side
bids.py      the replica's bids, and which of them Redis does not know yet              messages.py  calls and replies
link.py      the connections to Redis: one for calls, one that listens                  clock.py     fleet time
limiter.py   a tenant's requests and tokens per minute, shared (limiter.lua)            testing.py   a Redis, a replica

Why it holds
------------
Nothing is lost or doubled. The calls of a session are sequential, so each is applied once or the session ends. Permits
and bids live in the replica; Redis holds a copy. After any error the replica joins with a new session, which replaces
the copy: its permits count as held and its bids are present. A grant whose reply was lost belongs to no replica and is
made again. A call of an older session changes nothing.

Limits. While all replicas are in touch with Redis, the permits of an engine never exceed its limit (the largest
reported limit, while replicas differ). There are two exceptions, both until the permits end: permits of a replica that
was not heard for `lease` seconds although it lives (frozen, cut off); and, during an outage of Redis, permits above a
replica's share that were held at its start. A share is limit / last known number of replicas, at least 1. It also
applies for `lease` seconds after a fleet has started anew, until all holders of permits have joined and are counted.

Order. A grant goes to the best bid that Redis knows. It passes a better request in two cases only: that request reached
its replica within the last two calls (about 2 round trips, < 1 ms on one host), or its replica does not collect. A
grant that is not collected for `patience` seconds is taken back, and its replica is passed over until it calls. Keys of
different replicas are compared with the error of the clocks' offset, half a round trip. Without Redis the order is
local.

Recovery. A killed replica's permits and bids expire `lease` seconds after its last call. The next call of any other
replica, at most lease / 3 later, removes them. A hanging replica keeps its granted slots for `patience` seconds, with
the same delay. An outage of Redis shows in the first call, which fails at once or after `timeout`; until then requests
that need a grant wait. The return of Redis is noticed within RECONNECT_SECONDS.

Work conserving. Every call makes grants, so no slot that Redis knows as free idles while a bid could use it. A release
frees the slot with the next call (one way, half a round trip). A grant to another replica costs one publication and one
more round trip.

Engines with different models. A bid avoids the engines that do not serve its model, and a replica gives a slot to its
best request that can use it. Between replicas the order holds only among engines that serve the same models.

Not shared: virtual token counters (fair within a replica), KV budgets and retry budgets (use `FleetClient.share`).
"""
