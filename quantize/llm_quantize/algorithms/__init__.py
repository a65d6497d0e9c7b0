"""The algorithms, as pure functions of tensors: no model, no file, one method a module.

grid          the grids that weights are rounded to: scales, zero points, codes
rtn           round to nearest, the baseline
gptq          round column by column, and let the later columns make up for the error
scaling       scale channels by what reads them: the search that AWQ and SmoothQuant share
awq           activation-aware scales, then clipped ranges
smoothquant   move the activations' outliers into the weights
fp8           8-bit floats
rotation      spread outliers over all channels with a Hadamard matrix
kv_cache      scales of an 8-bit KV cache
sensitivity   choose the layers that keep 16 bits
"""
