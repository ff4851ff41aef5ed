"""A finished run as one file for other programs, safetensors or ONNX, checked against the run before it is there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from datasets.manifest import NAME_OF_LABEL, DataError, whole_file
from detector.batches import Pictures
from detector.calibration import calibrated
from detector.color import View, build_view
from detector.metrics import LOG_CLIP
from detector.models import settings_of
from detector.predict import predict
from experiments.material import prepared

if TYPE_CHECKING:
    from experiments.classifier import Classifier

TOLERANCE = 1e-4  # of a probability
CHECKED = 64  # pictures, in batches of 1 and of the rest
LARGEST = float(np.log1p(-LOG_CLIP) - np.log(LOG_CLIP))  # of a logit, as detector.calibration has it


class NotExported(ValueError):
    """A run that cannot be a file of this kind; the text is one line."""

    exit_status = 2


class Deployed(nn.Module):
    """RGB float32 (B, 3, H, W) in [0, 1] at the run's size -> calibrated probability of FAKE (B,).

    view: None where the network alone is asked for, which then takes what the view would have made.
    """

    def __init__(self, network: nn.Module, view: View | None, temperature: float):
        super().__init__()
        self.network, self.view, self.temperature = network, view, temperature

    def forward(self, images: Tensor) -> Tensor:
        seen = images if self.view is None else self.view.apply(images, _undrawn)
        return torch.sigmoid(self.network(seen)[:, 0].clamp(-LARGEST, LARGEST) / self.temperature)


def export(judge: "Classifier", path: Path, *, kind: str, network_only: bool = False) -> str:
    """Write the file whole or not at all; returns what it was checked on, in words.

    kind: of FORMATS. What is to be written is read back first, and its probabilities compared with those of the run,
    computed in float32, on test pictures. Raises NotExported where they differ by more than TOLERANCE, or the view
    cannot be written.
    """
    if len(judge.members) > 1:
        raise NotExported(f"{judge.run.folder}: an ensemble of {len(judge.members)}; expected a run")
    [member] = judge.members
    if member.view.is_random and not network_only:
        raise NotExported("aug.eval draws for every picture; export the network alone, with --network-only")
    pictures, where = _test_pictures(judge)
    rows = torch.arange(len(pictures.images))
    batch = next(pictures.batches(rows, len(rows)))
    expected = calibrated(
        predict(member.network, pictures, rows, member.view, key=member.key, precision="fp32"), judge.temperature
    )
    images = member.view(batch.images, member.key, rows) if network_only else batch.images
    images = images.contiguous()
    module = Deployed(member.network, None if network_only else member.view, judge.temperature).eval()
    write, read = FORMATS[kind]
    content = write(module, images, facts(judge, network_only))
    run = read(content)
    found = np.concatenate([run(images[:1]), run(images[1:])])
    difference = np.abs(found - expected).max()
    if not difference <= TOLERANCE:  # nor where it is not a number
        raise NotExported(
            f"{path}: not written: a probability is {difference:.2g} off the run's; expected {TOLERANCE:g} at most"
        )
    with whole_file(path, "wb") as file:
        file.write(content)
    return f"{len(rows)} {where}, largest difference {difference:.1g}"


def facts(judge: "Classifier", network_only: bool) -> dict[str, str]:
    """What a user of the file must know, each as text or JSON."""
    [member] = judge.members
    config, images = member.config, judge.images
    model = config.as_dict()["model"]
    if "weights" in model:  # where training began is a path of this machine, and does not matter here
        model |= {"weights": "none", "weights_sha256": ""}
    channels = member.view.channels if network_only else 3
    what = "what aug.eval makes of RGB" if network_only else "RGB"
    said = {
        "input": f"{what}, float32 (batch, {channels}, {images.size[0]}, {images.size[1]}) in [0, 1]",
        "output": "probability of FAKE, calibrated, float32 (batch,)",
        "threshold": judge.threshold,
        "temperature": judge.temperature,
        "classes": list(NAME_OF_LABEL.values()),
        "image_size": list(images.size),
        "fit": images.fit,
        "patches": images.patches,
        "model": model,
        "view": None if network_only else list(config.aug.eval),
        "channels": channels,
        "arm": config.aug.name,
        "digest": judge.run.provenance["digest"],
        "seed": config.seed,
        "data_digest": judge.run.provenance["data_digest"],
    }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in said.items()}


def load(content: bytes) -> Deployed:
    """The module of a safetensors file of ours."""
    from safetensors.torch import load

    known = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    settings, view = json.loads(known["model"]), json.loads(known["view"])
    built = build_view(view or [], where="view")
    network = settings_of(settings["name"])(**settings).build(
        image_size=tuple(json.loads(known["image_size"])),
        channels=json.loads(known["channels"]) if view is None else built.channels,
    )
    network.load_state_dict(load(content))
    return Deployed(network, None if view is None else built, json.loads(known["temperature"])).eval()


def _as_safetensors(module: Deployed, images: Tensor, known: dict[str, str]) -> bytes:
    from safetensors.torch import save

    return save({key: value.contiguous() for key, value in module.network.state_dict().items()}, metadata=known)


def _from_safetensors(content: bytes) -> Callable[[Tensor], np.ndarray]:
    module = load(content)
    return lambda images: module(images).detach().numpy()


def _as_onnx(module: Deployed, images: Tensor, known: dict[str, str]) -> bytes:
    import onnx

    module(images)  # what views keep is made now: the exporter would leave tensors without values in its place
    try:
        program = torch.onnx.export(
            module,
            (images,),
            dynamo=True,
            input_names=["images"],
            output_names=["probability"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        raise NotExported(
            f"aug.eval={module.view and [type(step).__name__ for step, _ in module.view.steps]}: cannot be written as "
            "ONNX; --network-only leaves it out"
        ) from error
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, known)
    return model.SerializeToString()


def _from_onnx(content: bytes) -> Callable[[Tensor], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images.numpy()})[0]


def _test_pictures(judge: "Classifier") -> tuple[Pictures, str]:
    """CHECKED test pictures of the run on the CPU, by lot, or noise where its data are not here; and which."""
    member = judge.members[0]
    random, size = np.random.default_rng(0), judge.images.size
    pixels, where = random.integers(0, 256, (CHECKED, *size, 3), dtype=np.uint8), "pictures of noise (no data here)"
    try:
        data = prepared(member.config)
        if data.content == judge.run.provenance["content_digest"]:
            rows = np.sort(random.permutation(data.indices("test"))[:CHECKED])
            pixels, where = np.asarray(data.images[rows]), "test pictures"
    except DataError:
        pass
    return Pictures(pixels, np.zeros(len(pixels)), torch.device("cpu")), where


def _undrawn(slot: int) -> Tensor:
    raise AssertionError(f"a view that draws (slot {slot}) was exported")


FORMATS: dict[str, Any] = {
    "safetensors": (_as_safetensors, _from_safetensors),
    "onnx": (_as_onnx, _from_onnx),
}
