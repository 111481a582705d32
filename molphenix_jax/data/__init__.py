"""From a wells table to a screen: reading, preparing, splitting, sampling."""
