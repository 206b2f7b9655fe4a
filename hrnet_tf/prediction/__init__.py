"""Prediction with trained networks, and what it takes to run it over folders and videos."""
