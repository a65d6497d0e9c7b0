"""Every op, as a torch custom op under `torch.ops.llm_kernels` and as a function here."""

from llm_kernels.ops.activations import gelu_and_mul, silu_and_mul
from llm_kernels.ops.attention import flash_attention, paged_attention
from llm_kernels.ops.gemm import gemm, scaled_gemm
from llm_kernels.ops.gemv import gemv
from llm_kernels.ops.norms import fused_add_rms_norm, layer_norm, rms_norm
from llm_kernels.ops.quantize import quantize_per_token
from llm_kernels.ops.rope import paged_kv_write, rope, rope_paged_kv_write
from llm_kernels.ops.sampling import process_logits, rejection_sample, sample, sample_top_k_top_p
from llm_kernels.ops.softmax import softmax
from llm_kernels.ops.w4a16 import w4a16_gemm

__all__ = [
    "flash_attention",
    "fused_add_rms_norm",
    "gelu_and_mul",
    "gemm",
    "gemv",
    "layer_norm",
    "paged_attention",
    "paged_kv_write",
    "process_logits",
    "quantize_per_token",
    "rejection_sample",
    "rms_norm",
    "rope",
    "rope_paged_kv_write",
    "sample",
    "sample_top_k_top_p",
    "scaled_gemm",
    "silu_and_mul",
    "softmax",
    "w4a16_gemm",
]
