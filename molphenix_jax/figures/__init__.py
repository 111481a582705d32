"""What a trained model knows beside recall: the paper's figures and probes of one run.

Each file answers one question from the model folders of a run alone, by the perturbations that
each fold held out. `molphenix figures` asks all of them (`command.py`).
"""
