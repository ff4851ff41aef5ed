"""Every finished run on every data set: python -m experiments.transfer"""
