"""Whole applications, each a page of calls."""
