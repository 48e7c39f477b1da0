"""Other trainers on the same work, each in a process tree and a virtual environment of its own."""
