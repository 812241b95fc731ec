"""What leaves through which next hop: the pure core, standard library and idna only."""
