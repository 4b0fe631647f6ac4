"""The bypass corpus: forbidden statements on every way in, and harmless look-alikes."""
