"""Where the memory goes that a step of training frees: back to the system, or kept for the next step, which needs it.

On the CPU every step frees and asks again for tens of megabytes of activations. By default glibc gives such pieces
back to the system, which clears each page before it hands it out anew.
"""

import ctypes
import platform
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT = 2**31 - 1  # bytes at the heap's end that are not given back; the largest that mallopt takes
# bytes: smaller pieces come from the heap, which keeps them, larger ones are mapped for themselves; some glibc take no
# more than the second
ON_THE_HEAP = (2**28, 2**25)


def choose(setting: str) -> str:
    """Keep what is freed (keep), or leave it to the system (system); returns which of them is in force from now on.

    One line on stdout where this system cannot be told to keep it. A process that keeps does so to its end.
    """
    return "keep" if setting == "keep" and _keep() else "system"


@cache
def _keep() -> bool:
    if platform.libc_ver()[0] != "glibc":
        print("allocator: freed memory goes back to the system; only under glibc (Linux) can it be kept", flush=True)
        return False
    libc = ctypes.CDLL(None)
    taken = any(libc.mallopt(M_MMAP_THRESHOLD, size) for size in ON_THE_HEAP) and libc.mallopt(M_TRIM_THRESHOLD, KEPT)
    if not taken:
        print("allocator: freed memory goes back to the system; this glibc does not take the setting", flush=True)
    return bool(taken)
