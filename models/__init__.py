"""Model weights: where they come from and where they are kept. Imports none of the other packages.

Importing this package imports no heavy library; conversion and download do so when they are called.
"""
