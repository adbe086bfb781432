"""Files of models: our own `.npz`, PETSc's binary as madupite reads it, and Storm's DRN."""
