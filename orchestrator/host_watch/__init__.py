"""Ask the metadata service of a cloud whether it takes this machine away."""
