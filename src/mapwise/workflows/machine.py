"""What a measurement ran on: the machine in words, and the memory of this process."""

import contextlib
import ctypes
import os
import platform
import sys
from pathlib import Path


def machine() -> str:
    """The machine in words: cores, processor, torch."""
    import torch

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = models[0] if models else model
    return f"{os.cpu_count()} CPU cores ({model}), torch {torch.__version__}, Python {platform.python_version()}"


def resident(device: str = "cpu", *, reset: bool = False) -> float:
    """The peak memory so far in megabytes; with reset, the present one, from which a new peak is counted."""
    if device.startswith("cuda"):
        import torch

        if reset:
            torch.cuda.reset_peak_memory_stats()
            return torch.cuda.memory_allocated() / 1e6
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status")
    if not status.exists():
        # Where the kernel doesn't tell, the peak of the whole process stands for both.
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    if reset:
        with contextlib.suppress(OSError, AttributeError):
            # What was freed before is handed back, or the gradient would use it again and seem to need less.
            ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # imports may have needed more than is resident now
    wanted = "VmRSS" if reset else "VmHWM"
    line = next(line for line in status.read_text().splitlines() if line.startswith(wanted))
    return int(line.split()[1]) * 1024 / 1e6
