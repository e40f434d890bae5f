"""`ez bench`: how fast each part of a run is on this machine, from the tree to a whole run."""
