"""The regression gate: a run held against a baseline, as a verdict that CI can act on."""
