"""Whether the tests of the rooms that decide notice what is changed in them."""
