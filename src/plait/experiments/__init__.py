"""Many fits side by side, on this machine or on many."""
