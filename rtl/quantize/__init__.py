"""Numbers to few bits and back, and the transforms that make that cheap.

Quantisers differ in how a step is found, and so in what they are made of. ``BlockQuantize``: a
power of two for each word, so that shifts do. ``HeadQuantize`` (in ``rtl/attention``): a small
integer for each head of each token, so that a short table of reciprocals does, in LUTs.
``DynamicQuantizer``: the measured range of a vector or group, divided by through its reciprocal.
``StaticQuantizer``: given. The last two share rounding and limits, also with zero points and down
to 2 bits.
"""
