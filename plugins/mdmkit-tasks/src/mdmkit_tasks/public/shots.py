"""Worked examples for few-shot prompts, written for this toolkit: none of them is from a test set."""

WORD_PROBLEMS = (
    (
        "A baker fills 6 trays with 12 rolls each and sells all but 9 of them. How many rolls are sold?",
        "There are 6 * 12 = 72 rolls. 72 - 9 = 63 are sold.\n#### 63",
    ),
    (
        "Lena reads 18 pages on Monday and twice as many on Tuesday. Her book has 120 pages. How many are left?",
        "On Tuesday she reads 2 * 18 = 36 pages, so 18 + 36 = 54 in all. 120 - 54 = 66 pages are left.\n#### 66",
    ),
    (
        "A ticket costs $15, and children pay two thirds of it. What do 2 adults and 3 children pay?",
        "A child pays 15 * 2 / 3 = 10 dollars. Together they pay 2 * 15 + 3 * 10 = 60 dollars.\n#### 60",
    ),
    (
        "A pump fills a pool at 250 litres an hour for 4 hours, and then 300 litres leak out. How much water is in it?",
        "The pump brings 250 * 4 = 1000 litres. 1000 - 300 = 700 litres are in the pool.\n#### 700",
    ),
    (
        "Of 80 apples a quarter is bad, and the rest is packed in bags of 5. How many bags are there?",
        "80 / 4 = 20 apples are bad, so 80 - 20 = 60 are packed. That makes 60 / 5 = 12 bags.\n#### 12",
    ),
)

MATHEMATICS = (
    ("What is the sum of the solutions of $x^2-7x+10=0$?", "By Vieta's formulas the sum is $7$: \\boxed{7}."),
    (
        "A fair die is thrown twice. What is the probability that both numbers are even?",
        "Each is even with probability $\\frac{1}{2}$: $\\frac{1}{2}\\cdot\\frac{1}{2}$ is \\boxed{\\frac{1}{4}}.",
    ),
    (
        "Solve $3(x-2)<9$ and write the solutions as an interval.",
        "Dividing by 3 gives $x-2<3$, so $x<5$: \\boxed{(-\\infty,5)}.",
    ),
    (
        "What is the area of a circle whose circumference is $6\\pi$?",
        "The radius is $3$, so the area is $\\pi\\cdot 3^2$: \\boxed{9\\pi}.",
    ),
)

PROGRAMS = (
    (
        "Write a function to count the vowels of a text.",
        "assert count_vowels('banana') == 3",
        "def count_vowels(text):\n    return sum(letter in 'aeiouAEIOU' for letter in text)",
    ),
    (
        "Write a function to turn a list around in pieces of the given size.",
        "assert turn_pieces([1, 2, 3, 4, 5], 2) == [2, 1, 4, 3, 5]",
        "def turn_pieces(items, size):\n    out = []\n    for start in range(0, len(items), size):\n"
        "        out += items[start : start + size][::-1]\n    return out",
    ),
    (
        "Write a function to find the largest gap between neighbours of a list of numbers.",
        "assert largest_gap([1, 4, 2, 9]) == 7",
        "def largest_gap(numbers):\n    return max(abs(b - a) for a, b in zip(numbers, numbers[1:]))",
    ),
)
