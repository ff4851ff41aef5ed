"""Our side of the measurements that need a look inside: packing, the training step, the view's share of it, evaluation.

Everything else is measured from outside, on `python -m experiments.run` as a user calls it.
"""

import platform
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.benchmark import child

if TYPE_CHECKING:
    from detector.batches import Pictures
    from detector.color import View

INVERTED_X8: list[dict[str, Any]] = [{"op": "invert"}, {"op": "saturate", "space": "luma", "factor": 8.0}]
STEPS = 10  # that are timed together, times those of LONGER
LONGER = {"cpu": 1, "cuda": 10}  # where a step is that much shorter
BATCH = 32


def pack(data_root: str) -> dict[str, Any]:
    """Everything that stands between CIFAKE's archive and the first batch: listed, decoded, packed, searched for
    duplicates, split, audited. Returns its seconds, the number of pictures and their bytes."""
    began = time.perf_counter()
    from datasets import build, cifake

    data = build.prepare(cifake.CifakeSettings(leaks="keep"), data_root=Path(data_root))
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "images": len(data.images), "bytes": data.images.nbytes}


def loop(data_root: str, precision: str, pairs: int, device: str) -> dict[str, Any]:
    """Inside one process: seconds of a step of A32 with and without the view, in turn; images a second of the view
    alone, and of the evaluation of the test split."""
    import torch

    from datasets import build, cifake
    from detector.batches import Pictures
    from detector.color import build_view
    from detector.predict import predict

    threads = as_a_run()
    data = build.prepare(cifake.CifakeSettings(leaks="keep"), data_root=Path(data_root))
    where = torch.device(device)
    pictures = Pictures(data.images, data.labels, where)
    rows = torch.from_numpy(data.indices("train"))
    plain, viewed = build_view([]), build_view(INVERTED_X8)
    sides = [timed_steps(pictures, rows, view, precision) for view in (plain, viewed)]
    times: list[list[float]] = [[], []]
    for pair in range(-2, pairs):  # the first two pay for what happens once
        for side in (0, 1) if pair % 2 else (1, 0):
            seconds = next(sides[side])
            if pair >= 0:
                times[side].append(seconds)
    batch = next(iter(pictures.batches(rows, BATCH)))
    transforming = []
    for _ in range(10 * pairs):
        began = time.perf_counter()
        viewed(batch.images, 0, batch.rows)[0, 0, 0, 0].item()
        transforming.append(time.perf_counter() - began)
    tested = torch.from_numpy(data.indices("test"))
    model = new_model().to(where, memory_format=torch.channels_last)
    evaluations = []
    for _ in range(4):
        began = time.perf_counter()
        predict(model, pictures, tested, plain, key=0, precision=precision)
        evaluations.append(len(tested) / (time.perf_counter() - began))
    return {
        "without": times[0],
        "with": times[1],
        "transform": transforming,
        "evaluations": evaluations[1:],
        "threads": threads,
    }


def as_a_run() -> int:
    """Threads and memory as a run has them that nobody set anything for; the number of threads."""
    import torch

    from datasets.decoding import usable_cpus
    from experiments import allocator

    allocator.choose("keep")
    torch.set_num_threads(min(usable_cpus(), 8))
    return torch.get_num_threads()


def new_model() -> Any:
    from detector.models.small import Cnn32

    return Cnn32().build(image_size=(32, 32))


def timed_steps(pictures: "Pictures", rows: Any, view: "View", precision: str) -> Iterator[float]:
    """Seconds of a training step, without end: the loop that every run goes through, some steps at a time."""
    import torch

    from detector.train import Training, TrainSettings, fit, waits_long

    steps = STEPS * LONGER[pictures.device.type]
    if waits_long(pictures.device) or len(rows) < steps * BATCH:  # losses are looked at once an epoch, or too rarely
        rows = rows[torch.randint(len(rows), (steps * BATCH,))]
    settings = TrainSettings(epochs=10**6, batch_size=BATCH, precision=precision, log_every=steps)
    training = Training.begin(new_model(), settings, num_images=len(rows), device=pictures.device)
    return timed(fit(training, pictures, rows, view, seed=0))


def timed(events: Iterator[Any]) -> Iterator[float]:
    """Seconds of a step, of those that came before each look at the losses."""
    from detector.train import Steps

    began = time.perf_counter()
    for event in events:
        if isinstance(event, Steps):
            yield (time.perf_counter() - began) / len(event.steps)
        began = time.perf_counter()


def machine(device: str) -> dict[str, Any]:
    """What all this is measured on. gpu: None where there is none, or none is asked for."""
    from datasets.decoding import usable_cpus

    gpu = None
    if device == "cuda":
        import torch

        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": _processor(),
        "cpus": usable_cpus(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
        "torchvision": metadata.version("torchvision"),
        "gpu": gpu,
    }


def _processor() -> str:
    """The processor's name as Linux knows it, with what matters to bfloat16; elsewhere its architecture."""
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return platform.processor() or platform.machine()
    facts = dict(line.split(":", 1) for line in file.read_text().split("\n\n")[0].splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    flags = set(facts.get("flags", "").split())
    extras = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    return f"{facts.get('model name', platform.machine())} ({', '.join(extras) or 'no wide vectors known'})"


TASKS: child.Tasks = {"pack": pack, "loop": loop, "machine": machine}

if __name__ == "__main__":
    child.answer(TASKS)
