"""What trains: the run and its visits, its data on the devices, what is fitted before."""
