"""What all output shares: tables, figures and pages."""
