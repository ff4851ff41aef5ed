"""The report of a comparison: python -m experiments.report"""
