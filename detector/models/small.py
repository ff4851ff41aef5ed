"""The two small networks of the reference system: one for 32x32 pictures, one for photographs of any size."""

from dataclasses import dataclass

from torch import nn

from detector.models.parts import GlobalAveragePool, check_dropout, check_size, head, pooled_block, text


@dataclass
class Cnn32:
    """Three convolutions and three linear layers for 32x32 pictures; 634,305 parameters.

    dropout: probability of both dropout layers of the head.
    """

    name: str = "cnn32"
    dropout: float = 0.5

    def __post_init__(self) -> None:
        check_dropout(self.dropout)

    def build(self, *, image_size: tuple[int, int], channels: int = 3, outputs: int = 1) -> nn.Sequential:
        """See models.ModelSettings."""
        if tuple(image_size) != (32, 32):
            raise ValueError(
                f"data.image_size is {text(image_size)}: model=cnn32 takes 32x32; "
                "model=cnn720 takes any size from 32x32"
            )
        return nn.Sequential(
            *pooled_block(channels, 32, nn.MaxPool2d(2), kernel=3),
            *pooled_block(32, 64, nn.MaxPool2d(2), kernel=3),
            *pooled_block(64, 128, nn.MaxPool2d(2), kernel=3),
            nn.Flatten(),
            *head(128 * 4 * 4, 256, 64, outputs=outputs, dropout=self.dropout),
        )


@dataclass
class Cnn720:
    """Five convolutions, global average pooling and three linear layers, made for 1280x720; any size from 32x32.

    dropout: probability of both dropout layers of the head.
    """

    name: str = "cnn720"
    dropout: float = 0.5

    def __post_init__(self) -> None:
        check_dropout(self.dropout)

    def build(self, *, image_size: tuple[int, int], channels: int = 3, outputs: int = 1) -> nn.Sequential:
        """See models.ModelSettings."""
        check_size(image_size, "cnn720", 32)
        return nn.Sequential(
            *pooled_block(channels, 32, nn.MaxPool2d(3, stride=2, padding=1), kernel=7, stride=2),
            *pooled_block(32, 64, nn.MaxPool2d(3, stride=2, padding=1), kernel=5),
            *pooled_block(64, 128, nn.MaxPool2d(2), kernel=3),
            *pooled_block(128, 256, nn.MaxPool2d(2), kernel=3),
            nn.Conv2d(256, 512, 3, padding=1),
            nn.ReLU(inplace=True),
            GlobalAveragePool(),
            *head(512, 1024, 256, outputs=outputs, dropout=self.dropout),
        )
