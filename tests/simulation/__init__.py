"""The shipped classes under simulated time, servers and faults; one seed replays a whole fleet's failure."""
