"""Commands about screens: from files to what a run is trained on."""
