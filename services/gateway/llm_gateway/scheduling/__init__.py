"""The order in which requests get slots.

queue           the bounded queue: one lane per class and route
policies/       the order of the lanes, and of the requests in a lane: one policy per file
dispatch        late binding: the best request leaves the queue when a slot is free, and not before
wait_bound      the longest wait of each class (proof in policies/composite)
shedding        under saturation the lowest classes are refused first
preemption      requests are pulled back from their engines for more urgent ones
"""
