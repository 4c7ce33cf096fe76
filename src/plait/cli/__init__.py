"""The program: a command a file."""
