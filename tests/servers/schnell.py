"""FLUX.1-schnell for a test server: its input as the service checks it, and pictures drawn in its place."""

import functools
import hashlib
import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

STAMP = "%Y-%m-%dT%H:%M:%S.%fZ"
MODEL = "black-forest-labs/flux-schnell"
SIZES = {
    **{"1:1": (1024, 1024), "16:9": (1344, 768), "21:9": (1536, 640), "3:2": (1216, 832), "2:3": (832, 1216)},
    **{"4:5": (896, 1088), "5:4": (1088, 896), "3:4": (896, 1152), "4:3": (1152, 896)},
    **{"9:16": (768, 1344), "9:21": (640, 1536)},
}
CHECKS = {
    "prompt": lambda value: isinstance(value, str) and value != "",
    "seed": lambda value: type(value) is int,
    "aspect_ratio": lambda value: value in SIZES,
    "megapixels": lambda value: value in ("1", "0.25"),
    "num_outputs": lambda value: type(value) is int and 1 <= value <= 4,
    "num_inference_steps": lambda value: type(value) is int and 1 <= value <= 4,
    "output_format": lambda value: value in ("webp", "jpg", "png"),
    "output_quality": lambda value: type(value) is int and 0 <= value <= 100,
    "go_fast": lambda value: type(value) is bool,
    "disable_safety_checker": lambda value: type(value) is bool,
}


@dataclass
class Prediction:
    """One order. fault: what goes wrong with it, of the server's list; fetched: how often its file was asked for."""

    id: str
    input: dict[str, Any]
    created: datetime
    fault: str = ""
    fetched: int = 0
    polled: int = 0


@functools.lru_cache(maxsize=64)
def drawn(text: str, width: int, height: int, kind: str) -> bytes:
    """A picture that is a function of `text`: soft colours, some shapes, a little grain."""
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]))
    soft = Image.fromarray(random.integers(30, 225, (5, 8, 3), np.uint8)).resize((width, height), Image.BICUBIC)
    pen = ImageDraw.Draw(soft)
    for _ in range(6):
        x, y, w, h = random.random(4) * (width, height, width / 2, height / 2)
        colour = tuple(int(value) for value in random.integers(0, 255, 3))
        (pen.ellipse if random.random() < 0.5 else pen.rectangle)((x, y, x + w, y + h), fill=colour)
    pixels = np.asarray(soft, np.int16) + random.integers(-2, 3, (height, width, 1), np.int16)
    out = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, kind)
    return out.getvalue()


def picture(wanted: dict[str, Any], tiny: bool) -> bytes:
    width, height = SIZES[wanted.get("aspect_ratio", "1:1")]
    scale = 64 if tiny else {"1": 1, "0.25": 2}[wanted.get("megapixels", "1")]
    kind = {"jpg": "JPEG", "png": "PNG"}.get(wanted.get("output_format", ""), "WEBP")
    return drawn(f"{wanted['prompt']} {wanted.get('seed')}", width // scale, height // scale, kind)


def complaint(wanted: object) -> str:
    """What is wrong with an order's input; empty where nothing is."""
    if not isinstance(wanted, dict) or "prompt" not in wanted:
        return "- input: prompt is required"
    bad = [key for key, value in wanted.items() if key not in CHECKS or not CHECKS[key](value)]
    return "\n".join(f"- input.{key}: {wanted[key]!r} is not accepted" for key in bad)


def shown(order: Prediction, server: str, seconds: float) -> dict[str, Any]:
    """A prediction as the interface gives it; an hour later without input and output."""
    age = datetime.now(UTC) - order.created
    done = age >= timedelta(seconds=seconds) and (order.fault != "slow" or order.polled > 5)
    status = "succeeded" if done else ("processing" if order.polled else "starting")
    if order.fault in ("failed", "canceled", "aborted"):
        status = order.fault
    kind = {"jpg": "jpg", "png": "png"}.get((order.input or {}).get("output_format", ""), "webp")
    removed = age > timedelta(hours=1) or order.fault == "no output"
    host = "https://files.replicate.com" if order.fault == "file elsewhere" else f"{server}/files"
    url = f"{host}/{order.id}/out-0.{kind}"
    place = f"{server}/v1/predictions/{order.id}"
    times = {"created_at": f"{order.created:{STAMP}}", "started_at": None, "completed_at": None}
    if done:
        times |= {"started_at": f"{order.created:{STAMP}}", "completed_at": f"{datetime.now(UTC):{STAMP}}"}
    return {
        "id": order.id,
        "model": MODEL,
        "version": "hidden",
        "input": {} if removed else order.input,
        "logs": "",
        "output": [url] if status == "succeeded" and not removed else None,
        "data_removed": removed,
        "error": "NSFW content detected. Try running it again." if status == "failed" else None,
        "status": status,
        "source": "api",
        "metrics": {"predict_time": seconds, "image_count": 1} if done else {},
        "urls": {"get": place, "cancel": f"{place}/cancel"},
        **times,
    }
