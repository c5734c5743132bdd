"""The fault run: real processes on a real server that is broken in turn, and a judge of what they have recorded."""
