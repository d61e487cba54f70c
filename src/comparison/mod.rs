//! What two ensembles have in common.
