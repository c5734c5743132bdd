"""One folder a server. Each is found by its URL scheme, as a third party's broker would be."""
