"""Whole applications, one page of public calls each."""
