"""FlexibleCNN of the FakeFinder project: as many blocks as are asked for, a head of its own size for any picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from detector.dropout import Dropout
from detector.models.parts import check_dropout, check_size

MOST_BLOCKS = 3
KERNELS = (3, 5)


@dataclass
class Flexible:
    """Blocks of convolution, batch normalisation, ReLU and max pooling by 2; then dropout, linear, ReLU, dropout and
    linear.

    filters: maps of each of 1 to 3 blocks; kernels: 3 or 5 for each; fc_size: of the hidden linear layer; dropout: of
    both layers. All layers are built here, for the given size: those that an optimiser is given.
    """

    name: str = "flexible"
    filters: list[int] = field(default_factory=lambda: [32, 24])
    kernels: list[int] = field(default_factory=lambda: [5, 3])
    fc_size: int = 384
    dropout: float = 0.17

    def __post_init__(self) -> None:
        check_dropout(self.dropout)
        if not 1 <= len(self.filters) <= MOST_BLOCKS or min(self.filters) < 1:
            raise ValueError(
                f"model.filters={_listed(self.filters)}: expected 1 to {MOST_BLOCKS} whole numbers above 0"
            )
        if len(self.kernels) != len(self.filters) or not {*self.kernels} <= {*KERNELS}:
            raise ValueError(
                f"model.kernels={_listed(self.kernels)}: expected {len(self.filters)} of them, each 3 or 5, "
                f"as model.filters={_listed(self.filters)}"
            )
        if self.fc_size < 1:
            raise ValueError(f"model.fc_size={self.fc_size}: expected a whole number above 0")

    def build(self, *, image_size: tuple[int, int], channels: int = 3, outputs: int = 1) -> nn.Sequential:
        """See models.ModelSettings."""
        least = 2 ** len(self.filters)
        check_size(image_size, "flexible", least, f" with {len(self.filters)} blocks")
        height, width = (side // least for side in image_size)
        blocks: list[nn.Module] = []
        for inputs, maps, kernel in zip([channels, *self.filters], self.filters, self.kernels, strict=False):
            # ReLU after the pooling gives the same, see parts.pooled_block
            blocks += [
                nn.Conv2d(inputs, maps, kernel, padding=kernel // 2),
                nn.BatchNorm2d(maps),
                nn.MaxPool2d(2),
                nn.ReLU(inplace=True),
            ]
        return nn.Sequential(
            *blocks,
            nn.Flatten(),
            Dropout(self.dropout, 0),
            nn.Linear(self.filters[-1] * height * width, self.fc_size),
            nn.ReLU(inplace=True),
            Dropout(self.dropout, 1),
            nn.Linear(self.fc_size, outputs),
        )


def _listed(values: Sequence[int]) -> str:
    return f"[{','.join(map(str, values))}]"
