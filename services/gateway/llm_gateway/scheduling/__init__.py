"""The order in which requests get slots.

waiting         one request as the scheduler sees it
queue           the bounded queue: one lane per class and route
policies/       which lane, and which request of it, is next: one policy a file
dispatch        late binding: the best request leaves when a slot is free, and not before
wait_bound      how long a request of each class waits at most (the proof is in policies/composite)
shedding        under saturation the lowest classes are refused first
preemption      requests are pulled back from their engine for more urgent ones; interrupt: how
service_rate    how fast slots become free, for Retry-After and the wait bound
"""
