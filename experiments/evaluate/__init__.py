"""The report of one run: python -m experiments.evaluate"""
