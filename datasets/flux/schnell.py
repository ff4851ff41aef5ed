"""FLUX.1-schnell as Replicate offers it: sizes, settings and price."""

import math
from typing import Any

from datasets.manifest import DataError

MODEL = "black-forest-labs/flux-schnell"
PRICE = 0.003  # US dollars an image
SIZES = {  # width, height in pixels at megapixels "1"
    "1:1": (1024, 1024),
    "16:9": (1344, 768),
    "21:9": (1536, 640),
    "3:2": (1216, 832),
    "2:3": (832, 1216),
    "4:5": (896, 1088),
    "5:4": (1088, 896),
    "3:4": (896, 1152),
    "4:3": (1152, 896),
    "9:16": (768, 1344),
    "9:21": (640, 1536),
}
MEGAPIXELS = {"1": 1, "0.25": 2}  # by what a side is divided
ORDERS_A_MINUTE = 600
ORDERS_A_MINUTE_ON_SMALL_CREDIT = 6  # below five dollars
SECONDS_AN_IMAGE = 2.5  # ordered, made and fetched by one worker


def image_size(aspect_ratio: str, megapixels: str) -> tuple[int, int]:
    """Width and height in pixels of what the model makes; DataError for what it does not know."""
    if aspect_ratio not in SIZES:
        raise DataError(f"--aspect-ratio {aspect_ratio}: expected one of {', '.join(SIZES)}")
    if megapixels not in MEGAPIXELS:
        raise DataError(f"--megapixels {megapixels}: expected one of {', '.join(MEGAPIXELS)}")
    width, height = SIZES[aspect_ratio]
    return width // MEGAPIXELS[megapixels], height // MEGAPIXELS[megapixels]


def record(aspect_ratio: str, megapixels: str) -> dict[str, Any]:
    """What makes a picture besides prompt and seed; its "input" goes to the service with every order."""
    image_size(aspect_ratio, megapixels)
    settings = {"aspect_ratio": aspect_ratio, "megapixels": megapixels, "num_outputs": 1, "output_format": "png"}
    # go_fast is not deterministic even with a seed.
    return {"generator": "replicate", "model": MODEL, "input": {**settings, "go_fast": False}}


def affordable(dollars: float) -> int:
    """How many images an amount pays for."""
    return math.floor(dollars / PRICE + 1e-6)


def seconds(images: int, workers: int) -> tuple[float, float]:
    """Roughly how long so many images take, and how long on less than five dollars of credit."""
    usual = images * max(SECONDS_AN_IMAGE / workers, 60 / ORDERS_A_MINUTE)
    return usual, max(usual, images * 60 / ORDERS_A_MINUTE_ON_SMALL_CREDIT)
