"""`./lab`: sets up, starts, shows and stops the stack on one machine.

cli          the commands
demo         two replicas, one gateway, the same load under two policies, a report
stack        engines and the gateway, started in order, stopped in reverse; remembered on disk for ./lab down
service      one server process: started, watched until it is ready, stopped with all its children
engines      the command line of our engine and of vLLM
environment  a virtual environment of its own, from a lock
vllm         the separate environment of real vLLM on a CPU
course       the course's commands
lock         remakes the files of hashes in 3rdparty/
"""

__version__ = "0.1.0"
