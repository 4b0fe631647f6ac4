"""How well detectors and gate find the campaigns of labelled worlds, beside what others do."""
