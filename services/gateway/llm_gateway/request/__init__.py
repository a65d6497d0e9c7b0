"""From the bytes of a request to a job in the queue.

body, form, json_fields     read within limits, parsed once, edited in place
endpoints                   the paths that go through the queue
classify                    the priority class and the targets of a request
estimate                    the number of tokens that a request will cost
admission                   all of the above, in order
exchange                    one request and everything known about it
"""
