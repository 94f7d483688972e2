"""What the processor of this machine has instructions for."""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # of Linux; elsewhere nothing is known


def computes_bf16():
    """Whether products of bf16 are instructions of the CPU (AVX512-BF16 or AMX), and not made of others."""
    if not CPUINFO.exists():
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(CPUINFO.read_text(encoding="utf-8").split())
