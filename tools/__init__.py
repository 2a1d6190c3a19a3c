"""Programs for developers: benchmarks, training, comparisons."""
