"""Many requests at their times: coordinated omission cannot happen, because each time is fixed before the clock starts.

users                 locust users that send the schedule
send                  one run's load, with everything that watches it
tally, progress       how it goes, while it goes
distribute            one schedule from several processes (partition, worker)
"""
