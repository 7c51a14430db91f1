"""celosia.boards"""
