"""Rendering shared by all output: tables, figures and HTML pages."""
