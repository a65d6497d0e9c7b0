"""Fails test_the_youngest_is_preempted: the oldest request makes room for the younger ones.

It has the most computed work to lose, and the next oldest follows: under pressure each is thrown out short of its end.
"""


class Simulator:
    def _grow_running(self) -> None:
        for request in list(self.running):
            while request in self.running and not self._has_room(request):
                victim = self.running.pop(0)
                victim.num_preemptions += 1
                self.num_recomputed += self.manager.preempt(victim.sequence)
                self.waiting.appendleft(victim)
