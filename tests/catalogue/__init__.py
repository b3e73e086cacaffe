"""Whether failures are explained rightly."""
