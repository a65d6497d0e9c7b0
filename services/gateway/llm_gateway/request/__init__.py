"""A request's way through the gateway.

body, form, json_fields     read within bounds, parsed once, edited in place
endpoints                   the paths that go through the queue
classes, classify           priority classes, and which one a request gets
estimate                    how many tokens it is going to cost
admission                   all of the above, in order: from bytes to a job in the queue
exchange                    one request and everything known about it
proxy, passthrough          from first byte to last; requests that go past the queue
"""
