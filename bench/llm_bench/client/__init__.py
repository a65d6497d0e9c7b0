"""One request on the wire.

target                    the server at the URL, examined before any load
credentials               API keys, from environment variables
wire                      a planned request as HTTP bytes
client, connection        bytes out, time-stamped bytes in, on gevent
exchange                  one request as the wire saw it
loop_lag                  how late the event loop of the client itself runs
"""
