"""FLUX.1-schnell on this machine, through diffusers."""

import errno
import importlib.metadata
import importlib.util
import io
import threading
from typing import Any

from datasets.images import one_line
from datasets.manifest import DataError

EXTRA = ("torch", "diffusers", "transformers", "accelerate")
DEVICES = ("auto", "cpu", "cuda", "mps")
SIDE_STEP = 16  # pixels; diffusers would round other sides down without asking
MAX_TOKENS = 256  # of a prompt; schnell was trained with no more
ROOMY = 40e9  # bytes of a GPU that hold the 34 GB of weights and the work beside them
STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


class WeightsError(Exception):
    """The weights can be neither found nor brought; the text is one line that says what to do."""

    exit_status = 7


class DiffusersGenerator:
    """Pictures by FLUX.1-schnell on this machine; the weights are loaded, and if need be brought, for the first one.

    model: a repository of huggingface.co, or a folder where a FluxPipeline was saved. width, height: in pixels,
    multiples of 16. device: auto, cpu, cuda or mps. record: what makes its pictures besides prompt and seed. Threads
    may call it at once; they take turns. Raises DataError for a setting that cannot be, or where the extra is missing.
    """

    def __init__(
        self,
        *,
        width: int,
        height: int,
        steps: int = 4,
        model: str = "black-forest-labs/FLUX.1-schnell",
        device: str = "auto",
    ) -> None:
        for name, value in (("width", width), ("height", height)):
            if value < SIDE_STEP or value % SIDE_STEP:
                raise DataError(f"{name}={value}: expected a multiple of {SIDE_STEP} pixels")
        if steps < 1:
            raise DataError(f"steps={steps}: expected 1 or more")
        if device not in DEVICES:
            raise DataError(f"device={device!r}: expected one of {', '.join(DEVICES)}")
        missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
        if missing:
            raise DataError(f'pictures on this machine need {", ".join(missing)}: pip install -e ".[local]"')
        self.record: dict[str, Any] = {
            "generator": "diffusers",
            "model": model,
            "steps": steps,
            "width": width,
            "height": height,
            "versions": {name: importlib.metadata.version(name) for name in EXTRA},
        }
        self._device = device
        self._pipeline: Any = None
        self._turn = threading.Lock()

    def generate(self, prompt: str, seed: int) -> bytes:
        """A PNG; the same prompt and seed give the same bytes on the same machine with the same versions.

        Raises DataError for a prompt that the model would not read to its end, WeightsError where the weights cannot be
        had; running out of memory is raised as torch raises it.
        """
        import torch

        with self._turn:
            if self._pipeline is None:
                self._pipeline = self._loaded()
            num_tokens = len(self._pipeline.tokenizer_2(prompt).input_ids)
            if num_tokens > MAX_TOKENS:
                raise DataError(f"prompt {prompt[:40]!r}...: {num_tokens} tokens; the model reads at most {MAX_TOKENS}")
            image = self._pipeline(
                prompt,
                width=self.record["width"],
                height=self.record["height"],
                num_inference_steps=self.record["steps"],
                guidance_scale=0.0,  # schnell is distilled without guidance
                max_sequence_length=MAX_TOKENS,
                generator=torch.Generator("cpu").manual_seed(seed),  # the same noise on every device
            ).images[0]
        out = io.BytesIO()
        image.save(out, "PNG")
        return out.getvalue()

    def _loaded(self) -> Any:
        import torch

        model, device = self.record["model"], _device(self._device)
        try:
            # Both look whether a package `datasets` is there, find ours, and import it only for training.
            from diffusers import FluxPipeline

            pipeline = FluxPipeline.from_pretrained(model, dtype=torch.bfloat16)
        except ImportError as error:
            raise DataError(f'diffusers is not whole ({one_line(error)}): pip install -e ".[local]"') from error
        except (RuntimeError, MemoryError):  # out of memory
            raise
        except Exception as error:  # the libraries below raise each its own kinds, of three HTTP clients among them
            if isinstance(error, OSError) and error.errno in STORAGE:
                raise
            raise WeightsError(_reason(model, error)) from error
        pipeline.set_progress_bar_config(disable=True)
        if device == "cuda" and torch.cuda.get_device_properties(0).total_memory < ROOMY:
            pipeline.enable_model_cpu_offload()
        else:
            pipeline.to(device)
        return pipeline


def _device(name: str) -> str:
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, here in present.items() if here)
    if not present[name]:
        raise DataError(f"device={name}: there is none here; expected auto or cpu")
    return name


def _reason(model: str, error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if type(cause).__name__ == "GatedRepoError":
            return f"{model}: accept its licence at https://huggingface.co/{model}, then run: hf auth login"
        cause = cause.__cause__ or cause.__context__
    told = error.__cause__ if isinstance(error.__cause__, Exception) else error
    return f"{model}: the weights cannot be loaded ({one_line(told)}); the first time needs the network and 34 GB"
