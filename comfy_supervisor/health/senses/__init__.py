"""What is to be seen of an instance, each look bounded in time and in bytes."""
