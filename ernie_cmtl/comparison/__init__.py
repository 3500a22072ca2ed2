"""Several models side by side: values, differences from the first model, and a picture."""
