"""Settings of the network: widths and norms (`hyperparameters`)."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ezcli.settings import DoesNotFit, Settings

NormName = Literal[
    "batch",
    "batch-authors",
    "batch-by-role",
    "batch-recalibrated",
    "batch-renorm",
    "group",
    "group-standardised",
    "layer",
    "rms",
]


class NetworkSettings(Settings):
    """Widths of h, g, f and the projection (appendix A.1, table 6)."""

    representation: Literal["convolutional", "mlp"] = Field(
        default="convolutional",
        json_schema_extra={"neutral": "convolutional"},
        description="kind of h; mlp is for vectors, and its latent is a vector",
    )
    channels: int = Field(ge=2, multiple_of=2, description="channels of the latent state")
    downsamplings: int = Field(
        ge=0, le=4, description="halvings of the frame size; 4 reduces 96 px to 6 px"
    )
    head_channels: int = Field(ge=1, description="channels of the 1x1 convolution before each head")
    head_hidden: int = Field(ge=1, description="units of the hidden layer in each head")
    prefix_lstm: int = Field(ge=1, description="units of the LSTM that carries the value prefix")
    projection: int = Field(ge=1, description="units of the projector's layers")
    projection_bottleneck: int = Field(ge=1, description="units of the predictor's hidden layer")
    batch_norm_momentum: float = Field(
        gt=0, le=1, description="weight of the newest batch in running statistics"
    )
    norm: NormName = Field(
        default="batch",
        json_schema_extra={"neutral": "batch"},
        description="normalisation of h, g and f (`ezcli/efficientzero/norms.py`)",
    )
    latent_scaling: bool = Field(
        description="scale latents to [0, 1] by min-max (MuZero appendix G)"
    )
    action_encoding: Literal["scalar", "one-hot"] = Field(
        description="one plane of action / A (authors' code) or A planes (MuZero appendix E)"
    )
    action_embedding: int = Field(
        default=0,
        ge=0,
        json_schema_extra={"neutral": 0},
        description="planes of the embedded action, input of g (EfficientZero V2); 0: no embedding",
    )
    head_activation: Literal["relu", "elu"] = Field(
        default="relu",
        json_schema_extra={"neutral": "relu"},
        description="activation of the hidden layer in each head (EfficientZero V2's code: elu)",
    )

    @model_validator(mode="after")
    def _vectors_are_not_halved(self) -> Self:
        if self.representation == "mlp" and self.downsamplings:
            rule = 'downsamplings must be 0 with representation = "mlp"'
            raise DoesNotFit(rule, "downsamplings", "representation", near={"downsamplings": [0]})
        return self
