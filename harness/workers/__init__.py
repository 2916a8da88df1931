"""Workers: processes, here or on other machines, that compute the packs of a model. The driver keeps the books."""
