"""What the processor of this machine has instructions for."""

from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # of Linux; elsewhere nothing is known


def computes_bf16():
    """Whether products of bf16 are instructions of the CPU (AVX512-BF16 or AMX), and not made of others."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_flags())


def has_avx512():
    """Whether the CPU has AVX-512, of which programs make use that were not told otherwise."""
    return "avx512f" in _flags()


def _flags():
    return CPUINFO.read_text(encoding="utf-8").split() if CPUINFO.exists() else []
