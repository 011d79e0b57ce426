"""The web page (`lyra app`): train, predict, scan, explain and propose without a terminal."""
