"""Draws the Reports and Findings it is handed: tables for the terminal, figures, one HTML page. Computes no learner."""
