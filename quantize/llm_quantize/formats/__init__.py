"""The checkpoint formats: how quantised layers are named, packed and described. Each module writes and reads one.

compressed_tensors   vLLM's own: 2, 3, 4 or 8 bits in groups or channels, W8A8, FP8, KV cache scales
gptq                 AutoGPTQ's first version: 2, 4 or 8 bits, symmetric
awq                  AutoAWQ's "gemm": 4 bits, asymmetric
registry             formats by name
dequantized          any of them as a model of transformers in full precision, for evaluation
"""

from llm_quantize.formats.dequantized import load_dequantized
from llm_quantize.formats.registry import FORMATS, Format, format_of

__all__ = ["FORMATS", "Format", "format_of", "load_dequantized"]
