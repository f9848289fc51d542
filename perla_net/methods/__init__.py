"""How an agent acts and learns: the protocol, one file a family; knows nothing of MPI."""
