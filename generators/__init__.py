"""celosia.generators"""
