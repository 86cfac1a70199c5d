"""The decisions: stimuli in, instructions out. Pure."""
