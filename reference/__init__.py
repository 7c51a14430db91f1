"""celosia.reference"""
