"""`ez bench`: the speed of each part of a run on this machine, from the tree to a whole run."""
