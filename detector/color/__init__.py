"""The colour operations and pipelines of them: float32 on the device, by Kornia's functions, [0, 1] in and out."""

from detector.color.saturation import LARGEST_FACTOR, SATURATIONS
from detector.color.view import OPS, View, build_view
from detector.operation import SLOTS, Draw, Operation

__all__ = ["LARGEST_FACTOR", "OPS", "SATURATIONS", "SLOTS", "Draw", "Operation", "View", "build_view"]
