"""Everything that needs no deep-learning framework: pictures, patches, data sets, metrics, weights and the pipeline."""

__version__ = "0.1.0"
