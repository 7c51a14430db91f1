"""The dot products of the MAC fabric's rows: which multipliers or adders make them."""

from amaranth import Cat, Const, Mux, Signal
from amaranth.utils import ceil_log2
from celosia.rtl.arithmetic.multiplier import multiply_registered
from celosia.rtl.mac.chain_product import chain_product
from celosia.rtl.mac.format import CACHED_WIDTH
from celosia.rtl.mac.ternary_sum import TERMS, masked, ternary_sums
from celosia.rtl.stream.pipeline import delayed

__all__ = ["DotProducts", "pairwise_sum"]


class DotProducts:
    """Makes the dot products of a :class:`celosia.rtl.mac.mac_fabric.MacFabric`.

    Its parameters are the fabric's.

    Members
    -------
    stages : int
        Registers between the products and the last sum's, all rows alike.
    """

    def __init__(self, rows, lanes, tokens, form, cached_rows, portable):
        self.rows, self.form, self.cached_rows = rows, form, cached_rows
        self.lanes = lanes
        self.distance = rows // form.group  # between rows that share multipliers
        self.multiplier_rows = cached_rows if form.ternary else self.distance
        self.blocks = tokens * self.multiplier_rows * lanes - portable
        added, multiplied = -(-lanes // TERMS) - 1, -(-ceil_log2(lanes) // 2)
        self.stages = multiplied
        if form.ternary:
            self.stages = max(added, multiplied) if cached_rows else added
        self._waits = self.stages - added, self.stages - multiplied  # of ternary sums, of products

    def of(self, m, weights, mantissas, codes, token, row):
        """The dot products of ``row`` and of those that share its multipliers, by their rows.

        ``weights`` are those of all rows; ``codes`` a row of keys or values that may count instead,
        and whether they do. All come from registers.
        """
        if not self.form.ternary:
            together = range(row, self.rows, self.distance)
            parts = self._products(m, [weights[r] for r in together], mantissas, codes, token, row)
            return {r: pairwise_sum(m, terms) for r, terms in zip(together, parts, strict=True)}
        few, many = self._waits
        if codes is None:
            return {row: delayed(m, ternary_sums(m, weights[row], mantissas), few)}
        (parts,) = self._products(m, [], mantissas, codes, token, row)
        if many:
            parts = [delayed(m, pairwise_sum(m, parts), many)]
        added = ternary_sums(m, masked(weights[row], codes[1]), mantissas)
        return {row: pairwise_sum(m, [*parts, delayed(m, added, few)])}

    def _products(self, m, together, mantissas, codes, token, row):
        """Of each of the rows ``together`` at most four terms that its dot product is the sum of.

        Those of the first one, or of none, are of ``codes`` where these count.
        """
        form = self.form
        number = (token * self.multiplier_rows + row) * self.lanes
        if codes is not None:
            codes, from_cache = codes
            later = delayed(m, from_cache, 2)
        products = []
        for lane, x in enumerate(mantissas):
            name = f"product_{number + lane}"  # boards know them by it
            operand = form.pack([w[lane] for w in together]) if together else Const(0, 1)
            if codes is not None:
                operand = Mux(from_cache, codes[lane], operand)
            portable = number + lane >= self.blocks
            if portable and together:
                code = None if codes is None else (codes[lane], from_cache, later)
                products.append(_apart(m, [w[lane] for w in together], x, code, name))
                continue
            if portable:
                product = chain_product(m, operand, x, name)
            else:
                product = multiply_registered(m, operand, x, 1, name)
            terms = form.split(product) if together else [product]
            if codes is not None and form.group > 1:
                terms[0] = Mux(later, product[: 2 * CACHED_WIDTH].as_signed(), terms[0])
            products.append(terms)
        return [_added(m, list(terms)) for terms in zip(*products, strict=True)]


def _apart(m, weights, x, code, name):
    """The products of weights without a block: each its own, cheaper than two in one.

    A ``code`` that may count instead, whether it does, and that two cycles later, has its upper
    bits in place of the second weight, if there is one.
    """
    operands, low = list(weights), 0
    if code is not None:
        value, from_cache, later = code
        if len(weights) > 1:  # bits of a code that are left for the first weight's product
            low = max(CACHED_WIDTH - len(weights[1]), 0)
        first = Cat(value[:low], Const(0, 1)).as_signed() if low else value
        operands[0] = Mux(from_cache, first, weights[0])
        if low:
            operands[1] = Mux(from_cache, value[low:].as_signed(), weights[1])
    terms = [chain_product(m, w, x, f"{name}_{n}") for n, w in enumerate(operands)]
    if low:
        terms[0] = terms[0] + Mux(later, terms[1] << low, 0)
    return terms


def _added(m, terms):
    """At most four terms of the same sum: a stage for each two levels of adders before."""
    while len(terms) > 4:
        terms = [delayed(m, pairwise_sum(m, terms[n : n + 4])) for n in range(0, len(terms), 4)]
    return terms


def pairwise_sum(m, terms):
    """The sum by pairs. The kept wires stop synthesis from a tree of carry-save adders."""
    while len(terms) > 1:
        sums = []
        for a, b in zip(terms[0::2], terms[1::2], strict=False):
            total = Signal((a + b).shape(), name="sum", attrs={"keep": 1})
            m.d.comb += total.eq(a + b)
            sums.append(total)
        terms = sums + terms[len(sums) * 2 :]
    return terms[0]
