"""SMILES to checked molecules and their feature blocks; the one importer of RDKit and datamol."""
