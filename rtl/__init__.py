"""celosia.rtl"""
