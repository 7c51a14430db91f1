"""Rooflines: what bounds each operation of a model, on a machine of ours or on another device."""

from dataclasses import asdict, dataclass

from celosia.generators.estimate.codesign import balance, model_ratios
from celosia.generators.estimate.machinery import Machinery
from celosia.generators.estimate.passes import Pass
from celosia.generators.estimate.report import tape_bandwidth
from celosia.generators.estimate.work import CLASSES, Formats, work_of

__all__ = ["Peaks", "device_peaks", "formats_of", "machine_peaks", "predicted_seconds", "roofline"]


@dataclass(frozen=True)
class Peaks:
    """What bounds the operations of a model.

    Parameters
    ----------
    name : str
    macs_per_second : float
    bytes_per_second : dict
        Of each class of bytes that limits; classes of one memory share it. What is not there has
        a memory of its own on the chip, which is fast enough by construction.
    shared : bool
        Whether it is one memory, whose bandwidth all of them share.
    group : int
        Tokens of a prompt that share what is read; 0 for all.
    """

    name: str
    macs_per_second: float
    bytes_per_second: dict
    shared: bool
    group: int = 0

    def seconds(self, work):
        """The least time for the products of ``work``, and for its bytes."""
        times = [work.bytes[name] / rate for name, rate in self.bytes_per_second.items()]
        return work.macs / self.macs_per_second, sum(times) if self.shared else max(times)


def machine_peaks(sketch, frequency):
    """Those of a machine of ours: weights from the tape, keys and values from their cache."""
    shape, config = sketch.shape, sketch.config
    places = shape.places
    cache = config.kv_axi_width // 8 if config.kv_memory == "axi" else places.rows * places.lanes
    return Peaks(
        config.name,
        shape.multipliers * frequency,
        {"weights": tape_bandwidth(sketch) * frequency, "cache": cache * frequency},
        False,
        config.token_parallelism,
    )


def device_peaks(device):
    """Those of a :class:`celosia.generators.estimate.device.Device`."""
    rates = dict.fromkeys(CLASSES, device.bytes_per_second)
    return Peaks(device.name, device.macs_per_second, rates, True)


def roofline(description, formats, peaks, prompt_length, predicted=None):
    """A dict of what bounds prefill and decoding, operation by operation.

    Parameters
    ----------
    description : Description
    formats : Formats
    peaks : Peaks
    prompt_length : int
        Decoding is that of the token behind the prompt.
    predicted : dict of str to dict, optional
        Of ``prefill`` and ``decode`` the seconds of each operation that a cycle model predicts.

    Returns
    -------
    dict
        ``phases``: of each its ``operations`` and ``total``; ``tokens_per_second``, at most;
        ``weights_per_byte``: weights read per token times that over bandwidth;
        ``more_bandwidth``: tokens/s that 1 GB/s more gives; ``ratios``: the model's.
    """
    work = {
        "prefill": work_of(
            *(description, formats, prompt_length, 0, peaks.group or prompt_length),
        ),
        "decode": work_of(description, formats, 1, prompt_length),
    }
    phases = {name: _phase(part, peaks, (predicted or {}).get(name)) for name, part in work.items()}
    seconds = phases["decode"]["total"]["seconds"]
    bound = [one for one in phases["decode"]["operations"] if one["binds"] == "memory"]
    bandwidth = peaks.bytes_per_second["weights"]
    ratios = model_ratios(description)
    width = formats.weight_width / 8
    eta = balance(peaks.macs_per_second, bandwidth, prompt_length)
    return {
        "device": asdict(peaks),
        "prompt_length": prompt_length,
        "phases": phases,
        "tokens_per_second": 1 / seconds,
        "weights_per_byte": description.macs(0) / seconds / bandwidth,
        "more_bandwidth": _more(bound, peaks, seconds),
        "ratios": {
            **asdict(ratios),
            "xi_f": ratios.xi_f,
            "xi_dec": ratios.xi_dec,
            "xi_pre": ratios.xi_pre,
            "eta": eta,
            "least_rho": ratios.least_rho(eta, width),
        },
    }


def _more(bound, peaks, seconds):
    """Tokens per second that 1 GB/s more of the weights' memory gives."""
    rate = peaks.bytes_per_second["weights"]
    share = sum(one["memory_seconds"] for one in bound if peaks.shared or one["bytes"]["weights"])
    return 1 / (seconds - share + share * rate / (rate + 1e9)) - 1 / seconds


def _phase(work, peaks, predicted):
    operations = []
    for one in work:
        compute, memory = peaks.seconds(one)
        row = {
            "name": one.name,
            "macs": one.macs,
            "bytes": one.bytes,
            "intensity": one.intensity,
            "compute_seconds": compute,
            "memory_seconds": memory,
            "binds": "compute" if compute >= memory else "memory",
        }
        if predicted is not None:
            row["predicted_seconds"] = predicted.get(one.name)
        operations.append(row)
    total = {
        "macs": sum(one.macs for one in work),
        "bytes": {name: sum(one.bytes[name] for one in work) for name in CLASSES},
        "seconds": sum(max(x["compute_seconds"], x["memory_seconds"]) for x in operations),
    }
    if predicted is not None:
        total["predicted_seconds"] = predicted["total"]
    return {"operations": operations, "total": total}


def predicted_seconds(sketch, prompt_length, frequency, **memory):
    """Of prefill and decoding the seconds of each operation, and in ``total`` of all.

    Passes over a prompt are like the one in its middle, but for the last one, which has logits.
    """
    machinery, group = Machinery(sketch, frequency, **memory), sketch.config.token_parallelism
    whole, rest = divmod(prompt_length, group)
    passes, last = whole + bool(rest), rest or group
    middle = Pass(machinery, (passes - 1) // 2 * group, group, False) if passes > 1 else None
    found = {}
    for name, one, times in (
        ("prefill", Pass(machinery, prompt_length - last, last), passes - 1),
        ("decode", Pass(machinery, prompt_length, generated=True), 0),
    ):
        seconds = {key: n / frequency for key, n in one.operations.items()}
        seconds["total"] = one.cycles / frequency
        if times:
            for key, n in middle.operations.items():
                seconds[key] += times * n / frequency
            seconds["total"] += times * middle.cycles / frequency
        found[name] = seconds
    return found


def formats_of(config):
    """The :class:`Formats` of a configuration."""
    width = config.weight_width
    return Formats(width, config.head_width or width, config.group_size, config.offset_width)
