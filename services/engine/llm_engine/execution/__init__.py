"""A step on the device.

batch            the step's tokens as flat tensors
decoder          the transformer, one for all model families
graphs           CUDA graphs for decodes
model_runner     copies blocks, builds the batch, runs the forward pass, samples
transfer         asynchronous copies between host and device
"""
