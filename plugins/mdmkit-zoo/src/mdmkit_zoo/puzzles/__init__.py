"""`zoo:puzzles`: a character-level MDM for 4x4 Sudoku, Countdown equations and one-way products."""
