"""How long the commands take, as ratios to an empty Python start: ``make bench``. No part of the test suite."""
