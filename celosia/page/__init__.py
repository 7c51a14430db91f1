"""``celosia report``: what a command left, as one page of HTML."""
