"""What codes lose: integer models against float32."""

from celosia.reference.evaluate import integer_model, windows_report

__all__ = ["measured"]


def measured(model, others, scheme, windows, progress=None):
    """Perplexity of the float model; of integer models perplexity, top-1 agreement and KL.

    Parameters
    ----------
    model : Model
        The float model.
    others : dict of str to Model
        What was made of it, or it itself, to be rounded as ``scheme`` says.
    scheme : Scheme
    windows : list of (list of int, list of int)
        Tokens fed, and to be predicted.
    progress : callable(done, total), optional

    Returns
    -------
    dict
        ``tokens``, ``float``, and the names of ``others``.

    Raises
    ------
    celosia.reference.evaluate.NoFormatError
        If no format holds one of the models.
    """
    result = {}
    for index, (name, one) in enumerate(others.items()):
        quantized = integer_model(one, scheme)

        def logits(tokens, q=quantized):
            return q.logits(tokens)[0] * 2.0**-q.logit_fraction

        def tell(done, total, index=index):
            if progress:
                progress(index * total + done, len(others) * total)

        report = windows_report(model, logits, windows, tell)
        result |= {"tokens": report["tokens"], "float": report["float"]}
        numbers = {key: report[key] for key in ("top1_agreement", "kl")}
        result[name] = report["integer"] | numbers
    return result
