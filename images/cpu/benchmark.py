#!/usr/bin/env python3
"""Measures what a task would get on this machine; writes /out/benchmark.json.

Three short runs of each measure, of which the median counts: the best of many runs says more about
luck than about the machine. Arithmetic is counted per second of CPU time, so that busy neighbours
do not make a machine look slow; under a user-space kernel CPU time is wrong, so `--clock wall`.

With CTD_DEVICE=cuda the GPU is measured instead, in full float32.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

RUNS = 3
CPU_RUN_SECONDS = 0.08
MATRIX_SIZE = 512
MEMORY_BYTES = 64 * 1024**2
DISK_BYTES = 16 * 1024**2
GPU_MATRIX_SIZE = 4096
GPU_RUN_SECONDS = 0.3


def median_of_runs(measure: Callable[[], float]) -> float:
    """Runs a measure once unheeded, to warm caches and clocks, then takes the median of RUNS."""
    measure()
    return statistics.median(measure() for _ in range(RUNS))


def measure_cpu(clock: Callable[[], float]) -> dict[str, float]:
    """One thread: float32 matrix products in GFLOP/s, and sums through memory in GB/s."""
    import numpy as np

    generator = np.random.default_rng(0)
    shape = (MATRIX_SIZE, MATRIX_SIZE)
    left = generator.standard_normal(shape, dtype=np.float32)
    right = generator.standard_normal(shape, dtype=np.float32)
    product = np.empty_like(left)

    def gflops() -> float:
        started, rounds = clock(), 0
        while clock() - started < CPU_RUN_SECONDS:
            np.matmul(left, right, out=product)
            rounds += 1
        return rounds * 2 * MATRIX_SIZE**3 / (clock() - started) / 1e9

    one = np.ones(MEMORY_BYTES // 4, dtype=np.float32)
    other = np.ones_like(one)
    total = np.zeros_like(one)

    def gigabytes_per_second() -> float:
        started, rounds = clock(), 0
        while clock() - started < CPU_RUN_SECONDS:
            np.add(one, other, out=total)
            rounds += 1
        return rounds * 3 * MEMORY_BYTES / (clock() - started) / 1e9

    return {
        "cpuGflops": median_of_runs(gflops),
        "memoryGBs": median_of_runs(gigabytes_per_second),
        "diskMBs": median_of_runs(measure_disk),
    }


def measure_disk() -> float:
    """Writes and syncs one file where outputs go; MB/s of wall time, for the disk has no CPU time."""
    path = Path("/out/disk-test")
    block = bytes(1024**2)
    started = time.perf_counter()
    with path.open("wb") as file:
        for _ in range(DISK_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    path.unlink()
    return DISK_BYTES / seconds / 1e6


def measure_gpu() -> dict[str, float]:
    """Float32 matrix products on the one GPU that is visible, TF32 off."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = False
    generator = torch.Generator(device="cuda").manual_seed(0)
    shape = (GPU_MATRIX_SIZE, GPU_MATRIX_SIZE)
    left = torch.randn(shape, device="cuda", generator=generator)
    right = torch.randn(shape, device="cuda", generator=generator)
    product = torch.empty_like(left)

    def gflops() -> float:
        torch.cuda.synchronize()
        started, rounds = time.perf_counter(), 0
        while time.perf_counter() - started < GPU_RUN_SECONDS:
            torch.mm(left, right, out=product)
            torch.cuda.synchronize()
            rounds += 1
        return rounds * 2 * GPU_MATRIX_SIZE**3 / (time.perf_counter() - started) / 1e9

    return {"gpuGflopsFp32": median_of_runs(gflops)}


def software() -> str:
    """The part of the determinism class that the image decides, such as `torch2.6.0-deb13`."""
    try:
        version = metadata.version("torch").split("+")[0]
    except metadata.PackageNotFoundError:
        version = "none"
    try:
        release = "deb" + Path("/etc/debian_version").read_text().strip().split(".")[0]
    except OSError:
        release = "other"
    return f"torch{version}-{release}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clock", choices=["cpu", "wall"], default="cpu")
    clock = time.process_time if parser.parse_args().clock == "cpu" else time.perf_counter
    cuda = os.environ.get("CTD_DEVICE") == "cuda"
    found = measure_gpu() if cuda else measure_cpu(clock)
    Path("/out/benchmark.json").write_text(json.dumps({"software": software(), **found}))


if __name__ == "__main__":
    main()
