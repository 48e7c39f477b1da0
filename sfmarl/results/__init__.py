"""What is done with runs once there are several: series of seeds, comparisons, sweeps, exported actors."""
