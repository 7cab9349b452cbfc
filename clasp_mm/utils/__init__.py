"""Ground: whole files, processes, devices, shipped files, timing."""
