"""Many requests at their times: coordinated omission cannot happen, because each time is fixed before the clock starts.

users                 locust users that send the schedule
send                  one run's load, with everything that watches it
tally, progress       the state of the load while it runs
distribute            one schedule from several processes (partition, worker)
"""
