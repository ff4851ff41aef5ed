"""Our speed held against PARENT, the plain way of doing the same; measured by scripts/benchmark.py."""
