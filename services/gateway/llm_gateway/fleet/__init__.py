"""Several gateways in front of the same engines, with one order and one set of limits, through Redis.

Every replica keeps its own queue, policy and connections. What it shares is small: a *bid* for each request that waits,
with the request's key on fleet time (p + a * t under aging; t is Redis's clock, see clock.py), the limit of each engine
it can use, and how many permits it holds. A replica tells its news in one call at a time, which an atomic script
(order.lua) turns into grants: while an engine has room, the best bid of all replicas gets a permit. Grants to the
caller come back in the reply; grants to others are kept for them, and a publication wakes them to collect. A grant is
a slot of an engine, not an order to serve one request: the replica gives it to the best request it has by then.

gate.py      the replica's side: tells news, hands out grants, joins, falls back        order.lua   the shared side
bids.py      the bids that this replica has, and which of them Redis does not know yet  messages.py what a call says
link.py      the connections to Redis: one for calls, one that listens                  clock.py    fleet time
limiter.py   requests and tokens per minute of a tenant, shared (limiter.lua)           testing.py  a Redis, a replica

Why it holds
------------
Nothing is lost or doubled. A session's calls are sequential, so each is applied once or the session ends. Permits and
bids live in the replica; Redis has a copy. After any error the replica joins with a new session, which replaces the
copy: permits it holds are counted as held, bids that wait are there, and a grant whose reply was lost is nobody's and
is given anew. A call of an older session changes nothing.

Limits. While all replicas are in touch with Redis, the permits of an engine never exceed its limit (the largest that
a replica tells, while they differ). Beyond it go only: permits held by a replica that was not heard for `lease`
seconds though it lives (frozen, cut off), until they end; and during an outage of Redis what was held at its start
above a replica's share, until it ends. A share is limit / last known replicas, at least 1; it also binds for `lease`
seconds after a fleet has started anew, until those who hold permits have joined and are counted.

Order. A grant goes to the best of the bids that Redis knows. It passes over a better request only if that request
reached its replica within the last two calls (about 2 round trips, < 1 ms on one host), or if its replica does not
collect: what is not collected for `patience` seconds is taken back and its replica is passed over until it calls. Keys
of different replicas are compared with an error of the clocks' offset, half a round trip. Redis gone: local order.

Recovery. A killed replica's permits and bids are gone `lease` seconds after its last call, noticed with the next call
of any other, at most lease / 3 later. A replica that hangs keeps slots it was granted for `patience` seconds, noticed
likewise. Redis gone is noticed with the first call, which fails at once or after `timeout`; until then requests that
need a grant wait. Redis back is noticed within RECONNECT_SECONDS.

Work conserving. Grants are made in every call, so no slot that Redis knows as free idles while a bid could use it. A
release frees the slot with the next call (one way, half a round trip); a grant to another replica costs one
publication and one round trip more.

Engines with different models. A bid avoids the engines that do not serve its model, and a replica gives a slot to the
best of its requests that can use it. Between replicas the order holds only among engines that serve the same models.

Not shared: virtual token counters (fair within a replica), KV budgets and retry budgets (use `FleetClient.share`).
"""
