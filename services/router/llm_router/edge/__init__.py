"""The data plane: one HTTP front over all engines that the fleet lists. No Ray here.

server       the edge as a whole: its parts, its start, its drain
standalone   an edge before engines that already run, without a control plane
app          the routes of the public port and of the admin port
listener     sockets that several edges share, and the lame duck
proxy/       a request from its arrival to its last byte
pages/       what the edge says about itself: models, readiness, status, the live page, the admin API
control      the interface to the control plane
settings     the limits of an edge
"""
