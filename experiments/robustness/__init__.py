"""How the scores of finished runs survive what happens to pictures.   python -m experiments.robustness --help"""
