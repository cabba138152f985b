"""`zopg attack`: classifiers to attack, the settings of the attacks, what is written and drawn."""
