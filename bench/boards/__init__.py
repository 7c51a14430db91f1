"""Figures of boards, as ``celosia build`` reported them: what ``celosia boards`` calls routed."""
