"""What a training costs, and the options that make it cheaper: precision, compilation, the record.

The floating-point operations of a step are counted from the shapes that torch sees
(`torch.utils.flop_counter`: matrix products, convolutions, attention; forward and backward).
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

Precision = Literal["auto", "fp32", "bf16"]

# Dense bf16 operations a second with float32 sums, from the makers' data sheets, by a part of
# torch's device name. The first match counts, so that the longer names come first.
BF16_PEAK = {
    "H200": 989.4e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989.4e12,
    "A100": 312e12,
    "A10": 125e12,
    "A40": 149.7e12,
    "A30": 165e12,
    "RTX A6000": 154.8e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "RTX 4090": 165.2e12,
    "RTX 3090": 71e12,
}


def uses_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether matrix products run in bf16; `auto` takes it on CUDA, and fp32 on a CPU.

    With AVX-512 bf16 alone the small networks that a CPU can train are no faster in bf16 than
    in fp32 (bench/results); matrix units (AMX) turn that round.
    """
    if precision == "auto":
        return device.type == "cuda" or torch.cpu._is_amx_tile_supported()
    return precision == "bf16"


def compiled(module: torch.nn.Module, wanted: bool | Literal["auto"]) -> Callable[..., Any]:
    """The module's forward pass, compiled; `auto` compiles on CUDA only. Weights are shared."""
    device = next(module.parameters()).device
    if wanted == "auto":
        wanted = device.type == "cuda"
    return torch.compile(module) if wanted else module


@contextlib.contextmanager
def fast_matrix_products(device: torch.device) -> Iterator[None]:
    """TF32 for float32 products on CUDA: a gradient's noise is far above such rounding."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def count_flops(run: Callable[[], Any]) -> int:
    """Floating-point operations of `run`, which may go backward; compiled parts run as written."""
    with torch.compiler.set_stance("force_eager"), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def share_of_peak(flops_per_second: float, device: torch.device) -> float | None:
    """Share of the card's dense bf16 peak; None on a CPU and for a card not in the table."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    peak = next((peak for part, peak in BF16_PEAK.items() if part in name), None)
    return None if peak is None else round(flops_per_second / peak, 4)


def device_record(device: torch.device) -> dict[str, Any]:
    """Device, threads and peak memory, for train.json."""
    if device.type == "cuda":
        name, peak = torch.cuda.get_device_name(device), torch.cuda.max_memory_allocated(device)
    else:
        import resource  # absent on some systems; only the CPU path needs it

        name, peak = "cpu", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "peak_memory_mb": round(peak / 2**20, 1),
    }
