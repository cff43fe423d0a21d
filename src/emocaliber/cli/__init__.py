"""The command line: one small file for each command, none with logic of its own."""
