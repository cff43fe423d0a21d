"""Files: rows, images, command-line inputs, settings, and resumable files and folders."""
