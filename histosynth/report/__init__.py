"""The HTML report: results of a study gathered, drawn and rendered as one self-contained page."""
