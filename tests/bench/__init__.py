"""What things cost, and what a peer does: the parts of ``make proof`` that ``make bench`` runs. None is a test."""
