"""The sizes of the full machine of a configuration, and what a model cannot have."""

from dataclasses import replace

from celosia.generators.config import ConfigError
from celosia.generators.program.group_parts import group_format
from celosia.reference.operations import Attention, Experts, Gate
from celosia.reference.view import layer_view
from celosia.rtl.machine.shape import MachineShape

__all__ = ["attention_parts", "machine_shape", "machine_views", "sampler_lanes", "settled"]


def settled(config, c, description):
    """The configuration, with its ``kv_pages``, of the full machine for a ModelConfig ``c``.

    Raises
    ------
    ConfigError
        If there is no such machine.
    """
    _check_fit(c, config)
    _check_operations(description, config)
    return _with_pages(config, config.max_seq_len)


def machine_views(quantized, config):
    """What each layer sees, and the slots of its cache.

    Raises
    ------
    ValueError
        If pages are asked for where no layer has any.
    """
    tokens, lanes, rows = config.token_parallelism, config.vector_lanes, config.cached_rows
    pages = config.kv_page_size, config.kv_pages
    views = tuple(
        layer_view(quantized.window(n), config.max_seq_len, rows, lanes, tokens, *pages)
        for n in range(quantized.config.n_layers)
    )
    if config.kv_page_size and not any(view.page for view in views):
        raise ValueError("kv_page_size must be 0 where all layers have windows, in rings")
    return views


def machine_shape(quantized, config, views, routes, program, acc_width):
    """The sizes of the machine of ``config``, whose ``max_seq_len`` is set."""
    c, scheme = quantized.config, quantized.scheme
    lanes = scheme.lanes
    return MachineShape(
        rows=config.rows,
        lanes=lanes,
        tokens=config.token_parallelism,
        weight_width=config.weight_width,
        acc_width=max(24, acc_width),
        residual_width=scheme.residual_width,
        dim_words=scheme.padded(c.dim) // lanes,
        hidden_words=scheme.padded(_hidden_dim(quantized.description)) // lanes,
        head_words=quantized.head_dim // lanes,
        n_layers=c.n_layers,
        n_heads=c.n_heads,
        n_kv_heads=c.n_kv_heads,
        vocab_size=c.vocab_size,
        max_seq_len=config.max_seq_len,
        epsilon=quantized.epsilon,
        score_fraction=quantized.score_fraction,
        score_width=quantized.score_width,
        gate_fraction=quantized.gate_fraction,
        logit_fraction=quantized.logit_fraction,
        groups=group_format(quantized),
        cache_width=config.kv_axi_width if config.kv_memory == "axi" else 0,
        register_port=config.control == "axi_lite",
        views=views,
        routes=routes,
        mixed_words=program.recurs * scheme.padded(c.dim) // lanes,
        norms=program.norms,
        ternary=scheme.ternary,
        trits=config.weight_format == "trits",
        wide_width=config.head_width or 8,
        activation_width=scheme.activation_width,
        packing=config.packing,
        lut_multipliers=config.lut_multipliers,
        sampler_lanes=config.sampler_lanes,
        gate_lanes=config.gate_lanes,
        **attention_parts(config, quantized),
    )


def attention_parts(config, quantized):
    """``cached_rows``, ``parts`` and ``paths`` of a machine, see :class:`MachineShape`.

    As many blocks of values share a beat as there are rows for, if their number divides the
    fabric's chunks of rows and is a power of two.

    Raises
    ------
    ConfigError
        If the machine cannot have as many ``softmax_lanes``.
    """
    operations = quantized.description.find(Attention)
    alike = not operations or (config.cached_rows == config.rows and not config.ternary)
    cached_rows = 0 if alike else config.cached_rows
    if not config.softmax_lanes:
        return {"cached_rows": cached_rows, "parts": 1, "paths": 1}
    for name, usual in (("kv_memory", "on_chip"), ("kv_page_size", 0), ("value_steps", "channel")):
        if getattr(config, name) != usual:
            raise ConfigError(
                f"softmax_lanes must be 0 unless {name} is {usual}, not {config.softmax_lanes}"
            )
    if not operations:
        raise ConfigError("softmax_lanes must be 0 for a model without attention")
    lanes = config.vector_lanes
    chunks, head_words = config.cached_rows // lanes, quantized.head_dim // lanes
    parts = chunks & -chunks  # the largest power of two that divides it
    while parts > 1 and parts * head_words > chunks:
        parts //= 2
    paths = config.softmax_lanes // lanes
    most = 1 if any(op.cap for op in operations) else parts
    if paths > most:
        why = "of scores with a cap" if most < parts else f"whose heads leave room for {parts}"
        raise ConfigError(
            f"softmax_lanes must be at most {most * lanes} for a machine {why}, "
            f"not {config.softmax_lanes}"
        )
    return {"cached_rows": cached_rows, "parts": parts, "paths": paths}


def sampler_lanes(config, dim):
    """The fewest by which a tile's logits leave in no more cycles than its beats take."""
    wider = config.head_width > config.weight_width
    whole = wider and not config.group_size  # these rows' multipliers are those of keys and values
    rows = config.cached_rows if whole else config.rows
    beats = -(-dim // config.vector_lanes) * (2 if wider and not whole else 1)
    lanes = 1
    while lanes < config.vector_lanes and rows > beats * lanes:
        lanes *= 2
    return lanes


def _check_fit(c, config):
    limit = max(c.dim, c.hidden_dim, c.vocab_size)
    if config.rows > limit:
        raise ConfigError(
            f"weight_parallelism {config.weight_parallelism} with {config.vector_lanes} lanes has "
            f"{config.rows} rows, more than the model can fill (its largest layer has {limit})"
        )
    for name, value, most in (
        ("n_heads", c.n_heads, 255),
        ("n_layers", c.n_layers, 127),
        ("vocab_size", c.vocab_size, (1 << 20) - 1),
    ):
        if value > most:
            raise ConfigError(f"{name} must be at most {most}, not {value}")


def _check_operations(description, config):
    """Refuse what a model with such operations cannot have."""
    if description.find(Experts) and config.token_parallelism > 1:
        raise ConfigError(
            "token_parallelism must be 1 for a model with experts, "
            f"not {config.token_parallelism}: a prompt goes token by token"
        )
    gated = description.find(Experts) or any(op.up for op in description.find(Gate))
    if config.gate_lanes and not gated:
        raise ConfigError(
            f"gate_lanes must be 0 for a model whose MLP has no gate, not {config.gate_lanes}"
        )
    if not description.find(Attention):
        for name, usual in (
            ("kv_memory", "on_chip"),
            ("kv_page_size", 0),
            ("value_steps", "channel"),
            ("attention_parallelism", 0),
        ):
            if getattr(config, name) != usual:
                raise ConfigError(
                    f"{name} must be {usual} for a model without attention, "
                    f"not {getattr(config, name)}"
                )


def _with_pages(config, max_seq_len):
    """The configuration with as many pages of the KV cache as ``max_seq_len`` needs, if any."""
    size = config.kv_page_size
    if not size:
        return config
    needed = -(-max_seq_len // size)
    if config.kv_pages and config.kv_pages < needed:
        raise ConfigError(
            f"kv_pages must be at least {needed} for max_seq_len {max_seq_len} with a kv_page_size "
            f"of {size}, not {config.kv_pages}"
        )
    return replace(config, kv_pages=config.kv_pages or needed)


def _hidden_dim(description):
    """Values of the largest vector behind a gate."""
    gates = [description.sizes[op.out] for op in description.find(Gate)]
    return max([op.hidden_dim for op in description.find(Experts)] + gates)
