"""Batch jobs: many pictures in one request, answered while the client is away; a job survives a restart and a kill of the server."""
