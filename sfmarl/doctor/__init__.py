"""`sfmarl doctor`: is this machine, container and installation fit for training, and if not, what to do."""
