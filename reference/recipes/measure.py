"""What codes lose, and what rounding to the nearest would: the integer models against float32."""

from celosia.reference.evaluate import integer_model, windows_report

__all__ = ["measured"]


def measured(model, coded, scheme, windows, progress=None):
    """Perplexity of the float model; of both integer models perplexity, top-1 agreement and KL.

    Parameters
    ----------
    model, coded : Model
        The float model, and what a recipe made of it.
    scheme : Scheme
    windows : list of (list of int, list of int)
        Tokens fed, and to be predicted.
    progress : callable(done, total), optional

    Returns
    -------
    dict
        ``tokens``, ``float``, ``recipe`` and ``nearest``.

    Raises
    ------
    celosia.reference.evaluate.NoFormatError
        If no format holds one of the models.
    """
    result = {}
    for index, (name, one) in enumerate({"recipe": coded, "nearest": model}.items()):
        quantized = integer_model(one, scheme)

        def logits(tokens, q=quantized):
            return q.logits(tokens)[0] * 2.0**-q.logit_fraction

        def tell(done, total, index=index):
            if progress:
                progress(index * total + done, 2 * total)

        report = windows_report(model, logits, windows, tell)
        result |= {"tokens": report["tokens"], "float": report["float"]}
        numbers = {key: report[key] for key in ("top1_agreement", "kl")}
        result[name] = report["integer"] | numbers
    return result
