"""What runs inside the seal. It uses only the standard library, and is all of this project that a program can see."""
