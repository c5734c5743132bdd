"""Figures as paired ratios: what is compared runs interleaved in one process and one run."""
