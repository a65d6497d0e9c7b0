"""A step on the device.

batch            the step's tokens as flat tensors
decoder          the transformer, one for all families
graphs           CUDA graphs for decodes
model_runner     move blocks, build the batch, forward, sample
transfer         copies between host and device that wait for nothing
"""
