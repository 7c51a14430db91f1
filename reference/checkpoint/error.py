"""The one exception of the checkpoint loaders."""

__all__ = ["CheckpointError"]


class CheckpointError(ValueError):
    """A checkpoint or tokenizer that cannot be loaded; the message names the file and the tensor,
    field or token that is at fault."""
