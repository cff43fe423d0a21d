"""Files: rows, images, what is given on the command line, settings, and folders that work goes on in."""
