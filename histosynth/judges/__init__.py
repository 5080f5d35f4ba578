"""Networks trained on real tissue: they judge what a synthetic tile shows."""
