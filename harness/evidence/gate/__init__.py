"""The regression gate: a run compared with a baseline, as a verdict that CI can act on."""
