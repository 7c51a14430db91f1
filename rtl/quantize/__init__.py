"""Numbers to few bits and back, and the transforms that make that cheap.

Quantisers differ in how a step is found, and so in what they are made of. ``BlockQuantize``: a power
of two for each word, so that shifts do. ``HeadQuantize`` (in ``rtl/attention``): a small integer for
each head of each token, so that a table's reciprocals do, in LUTs. ``DynamicQuantizer``: the measured
range of a vector or group, divided exactly. ``StaticQuantizer``: given. The last two share the step's
rounding and limits, also with zero points and down to 2 bits.
"""
