"""The broker goes away under three writers and three readers, each a process, and comes back."""
