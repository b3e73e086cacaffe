"""What the commands and the health listener take, and what a peer does: ``make bench``. No part of the test suite."""
