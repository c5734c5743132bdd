"""Examples; `python -m examples.demo` runs one of them as a fleet."""
