"""Tables of answers that are easily misjudged, each with the right verdict."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest

from mdmkit_tasks.judges.choice import chosen
from mdmkit_tasks.judges.code import program
from mdmkit_tasks.judges.countdown import reaches
from mdmkit_tasks.judges.mathematics import same_value
from mdmkit_tasks.judges.numbers import final_number, same_number
from mdmkit_tasks.judges.sandbox import Part
from mdmkit_tasks.judges.sudoku import grid, solves

NUMBERS = [
    ("#### 18", "18", True),
    ("#### 18.0", "18", True),
    ("#### 18.", "18", True),
    ("#### 18.5", "18", False),
    ("#### 180", "18", False),
    ("#### 1", "12", False),
    ("#### 12", "1", False),
    ("#### 1,234", "1234", True),
    ("#### 1234", "1,234", True),
    ("The total is 1{,}234 dollars", "1234", True),
    ("It costs \\$1,234.50.", "1234.5", True),
    ("#### $18", "18", True),
    ("#### 18 dollars a day", "18", True),
    ("#### 18%", "18", True),
    ("#### -5", "-5", True),
    ("#### −5", "-5", True),
    ("#### 5", "-5", False),
    ("So 10-5", "5", True),
    ("3 + 4 = 7", "7", True),
    ("The answer is 5 + 3 = 8.", "8", True),
    ("The answer is 8, because 5 + 3 is that.", "8", True),
    ("The answer is: **72**", "72", True),
    ("Answer: $50 per day, for 3 days", "50", True),
    ("\\boxed{18}", "18", True),
    ("\\boxed{18 \\text{ eggs}} and 7 are left", "18", True),
    ("First \\boxed{3}, no: \\boxed{4}", "4", True),
    ("\\boxed{\\frac{3}{4}}", "0.75", True),
    ("1/3 of them", "0.33", False),
    ("2 1/2 cups", "2.5", True),
    ("He has 4 left.\nQuestion: And with 9?\nAnswer: 9", "4", True),
    ("I do not know", "18", False),
    ("", "18", False),
    ("eggs: 16, eaten: 3, baked: 4, left: 9", "9", True),
    ("12,34", "1234", False),
    # A decimal comma, where it can be nothing else.
    ("Es kostet €1.234,50.", "1234.5", True),
    ("\\boxed{1.234,5}", "1234.5", True),
    ("1.234.567,89 euros", "1234567.89", True),
    ("€ 18,50", "18.5", True),
    ("It is 18,50 €", "18.5", True),
    ("It is 18,50 euros", "18.5", True),
    ("EUR 18,50", "18.5", True),
    ("18,50 EUR", "18.5", True),
    ("€-5,20", "-5.2", True),
    ("€1 234,50", "1234.5", True),
    ("1 234,50 €", "1234.5", True),
    ("€1.234", "1.234", True),
    ("€ 18,500", "18500", True),
    ("1,234.50", "1234.5", True),
    ("\\boxed{18,50}", "18.5", False),  # may be two numbers
    # Too long when it is written out.
    ("\\boxed{1e999999999}", "1", False),
    ("#### 1e999999999", "1", False),
    ("1e999999999", "999999999", False),
    ("\\boxed{1e-999999999}", "0", False),
    ("\\boxed{10^999999}", "10", False),
    ("1e1000^1000", "1", False),
    ("0." + "7" * 900 + "^900", "1", False),
    ("\\boxed{3 \\times 10^{999999}}", "3", False),
    ("\\boxed{2^{100}}", "1267650600228229401496703205376", True),
    ("x2 = 18", "18", True),
    ("#### 1e3", "1000", True),
    ("10 / 0 is nothing, so 7", "7", True),
    ("#### 18", "16 - 3 - 4 = <<16-3-4=9>>9 eggs, 9 * 2 = $<<9*2=18>>18\n#### 18", True),
    ("9 eggs, so 9 * 2 = $<<9*2=18>>18", "18", True),
    ("The answer is 18<|im_end|>\n19", "18", True),
    # Signs and fractions of LaTeX.
    ("\\boxed{-\\frac{1}{2}}", "-1/2", True),
    ("\\boxed{-\\dfrac{3}{4}}", "-0.75", True),
    ("\\boxed{\\frac{-3}{4}}", "-0.75", True),
    ("\\boxed{\\frac12}", "1/2", True),
    ("\\boxed{\\frac{1}2}", "0.5", True),
    ("\\boxed{2\\frac12}", "5/2", True),
    ("\\boxed{ - 18}", "-18", True),
    ("#### - 5", "-5", True),
    ("So x = - 5", "-5", True),
    ("So 10 - 5", "5", True),
    # Large numbers in words, with spaces, and as powers.
    ("#### 1 000", "1000", True),
    ("The answer is 12 000.", "12000", True),
    ("#### 1.5 million", "1500000", True),
    ("\\boxed{1.5 \\text{ million}}", "1500000", True),
    ("The answer is $2 million.", "2,000,000", True),
    ("\\boxed{2 \\times 10^3}", "2000", True),
    ("\\boxed{10^{3}}", "10", False),
    # A time of day and a ratio are no numbers.
    ("\\boxed{12:30}", "12", False),
    ("\\boxed{3:4}", "3", False),
    ("At 12:30 he has 5 left", "5", True),
    # The first mark counts, and a heading is no mark.
    ("#### 18\n\nHuman: and with 9?\n\n#### 3", "18", True),
    ("#### 18\n\nThe next one\n#### 3", "18", True),
    ("It is 18.\nUser: and with 9?\nIt is 3.", "18", True),
    ("It is 18.\n\n### Instruction:\nAdd 3", "18", True),
    ("#### 1. Add the prices\n3 + 4 = 7\n#### 7", "7", True),
    ("#### Step one\n3 + 4\n#### Answer\nThe answer is 7", "7", True),
]

# The number that an answer gives, None if it gives none.
SAID = [
    ("$1.5M", "1500000"),
    ("\\boxed{\\$1.5M}", "1500000"),
    ("#### 20K", "20000"),
    ("#### 20k runners", "20000"),
    ("#### 3B", "3000000000"),
    ("#### 5 m", "5"),
    ("#### 5m", "5"),
    ("#### 5 K", "5"),
    ("#### 5kg", "5"),
    ("#### 5KB", "5"),
    ("#### 5 M", "5"),
    ("#### 5b", "5"),
    ("#### 1\\ 000", "1000"),
    ("\\boxed{12\\ 000}", "12000"),
    ("\\boxed{1~000}", "1000"),
    ("\\boxed{1\\:000}", "1000"),
    ("#### 1'000", "1000"),
    ("#### 1_000", "1000"),
    ("#### 5\\ 00", "5"),
    ("#### 6'2000", "6"),
    ("#### 18-20", None),
    ("\\boxed{18-20}", None),
    ("\\boxed{18 - 20}", None),
    ("The answer is 18–20.", None),
    ("The answer is 18 to 20.", None),
    ("The answer is between 18 and 20.", None),
    ("The answer is 18 or 20", None),
    ("\\boxed{10\\%-20\\%}", None),
    ("\\boxed{\\$18-\\$20}", None),
    ("\\boxed{18\\text{ to }20}", None),
    ("\\boxed{5 + 3}", None),
    ("\\boxed{5 \\times 3}", None),
    ("\\boxed{5*3}", None),
    ("\\boxed{5*3=15}", "15"),
    ("\\boxed{-18}", "-18"),
    ("#### 18 - the 5 eggs", "18"),
    ("The answer is 18-year-olds", "18"),
    ("The answer is 18, 5 more than 13.", "18"),
    ("#### 18 (20 - 2)", "18"),
    ("#### 18 dollars - 2 dollars less", "18"),
    ("\\boxed{18 \\pm 2}", None),
    ("#### 18 or 18.0", "18"),
    ("\\boxed{2 and 1/2}", "5/2"),
    ("#### 18,5", None),
    ("#### 1.234.567", "1234567"),
    ("#### 1.234", "1.234"),
    ("#### 1,00,000", "100000"),
    ("#### ١٢٣", "123"),
    ("#### １２，３４５", "12345"),
    ("#### ١٬٢٣٤٫٥", "1234.5"),
    ("<answer>18</answer> since 3 are left", "18"),
    ("<answer>18-20</answer>", None),
    ("\\boxed{18} <answer>20</answer>", "18"),
    ("**Answer**: 50 per day for 3 days", "50"),
    ("**Answer:** 50 per day for 3 days", "50"),
    ("The answer isn't 5, it is 6", "6"),
    ("The answer is not 5, it is 6", "6"),
    ("The answer must be 7 of the 9", "7"),
    ("2 x 10^3", "2000"),
    ("So 10-5", "5"),
    ("#### 5 - 3 = 2", "2"),
    ("#### 3 * $5 = $15 per 2", "15"),
    ("\\boxed{x = 5}", "5"),
    ("#### 24 hours / 2", "24"),
    ("The answer is 8 + 4 = 12 eggs - 2", "12"),
    ("The answer is 50%.", "50"),
    ("The answer is 1,200.50 dollars", "1200.5"),
    ("\\boxed{\\text{Monday}}", None),
    ("\\boxed{3/4}", "3/4"),
    ("\\boxed{18}\\text{ eggs in 2 days}", "18"),
    ("answer = 4", "4"),
    ("The answer is three: 3", "3"),
    ("#### $\\frac{1}{2}$", "1/2"),
    ("It's 5pm", "5"),
    ("Total: 2 dozen", "2"),
    ("The answer is: 1 million", "1000000"),
    ("#### 1.2 thousand", "1200"),
    ("\\boxed{1000_2}", "1000"),
    ("#### 18\n\n#### 20", "18"),
    ("wait, 18 is wrong, it's 20", "20"),
    # As models write.
    ("Let x be the cost. 2x + 3 = 15\n2x = 12\nx = 6\n\n\\boxed{6}", "6"),
    ("The total is $\\$1{,}234.50$.", "1234.5"),
    ("So Janet makes 9 * $2 = $<<9*2=18>>18 every day at the farmer’s market.\n#### 18", "18"),
    ("Therefore, the total cost is $18.00 per day.", "18"),
    ("Wait, let me recompute. 3 * 6 = 18. So the answer is 18, not 20.", "18"),
    ("The answer is 18.\n\nWait, I forgot one: the answer is 20.", "20"),
    ("**Final Answer:** $\\boxed{70{,}000}$", "70000"),
    ("### Final answer\n\n**$70,000**", "70000"),
    ("Final answer: **\\$70,000**", "70000"),
    ("Final Answer: The final answer is $70000. I hope it is correct.", "70000"),
    ("The answer is 5 hours and 30 minutes", "5"),
    ("He needs 1/2 of 10 = 5 cups", "5"),
    ("\\[ \\boxed{5\\frac{1}{2}} \\]", "11/2"),
    ("\\boxed{5 \\tfrac{1}{2}}", "11/2"),
    ("\\boxed{\\frac{10}{3} \\approx 3.33}", "10/3"),
    ("\\boxed{3.33...}", "3.33"),
    ("\\boxed{\\approx 18}", "18"),
    ("\\boxed{18 \\, \\text{cm}^2}", "18"),
    ("\\boxed{\\text{18}}", "18"),
    ("\\boxed{\\mathbf{18}}", "18"),
    ("\\boxed{-\\$5}", "-5"),
    ("\\boxed{\\$-5}", "-5"),
    ("\\boxed{(18)}", "18"),
    ("\\boxed{18:00}", None),
    ("\\boxed{20\\%}", "20"),
    ("\\boxed{0.2}", "1/5"),
    ("\\boxed{.5}", "1/2"),
    ("Answer: 3 1/2", "7/2"),
    ("Answer: 2 × 9 = 18 dollars", "18"),
    ("= 18", "18"),
    ("She has 3 apples left. (10 - 7 = 3)", "3"),
    ("The answer is \\(18\\).", "18"),
    ("The answer is $18$ because $20-2=18$", "18"),
    ("The answer is $x = 18$", "18"),
    ("#### \\boxed{18}", "18"),
    ("#### $18.00", "18"),
    ("####18", "18"),
    ("#### Answer: 18", "18"),
    ("#### The answer is 18", "18"),
    ("#### Final Answer\n\n18 dollars", "18"),
    ("The correct answer is: 18 (eighteen)", "18"),
    ("So the total number of bolts is 2 + 1 = 3 bolts.", "3"),
    ("Therefore the answer is 2+1=3 bolts", "3"),
    ("The answer is 3.0 * 10^2", "300"),
    ("\\boxed{3 \\cdot 10^{2}}", "300"),
    ("\\boxed{3e2}", "300"),
    ("\\boxed{10^2}", "100"),
    ("\\boxed{18}.\n\nHope this helps! Rate 5/5", "18"),
    ("It will take 3-4 days", None),
    ("The answer is (a) 18", "18"),
    ("The answer is $18,000,000.", "18000000"),
    ("The answer is 18million", "18000000"),
    ("The answer is USD 18", "18"),
    ("The answer is 18USD", "18"),
    ("The answer is €18", "18"),
    ("The answer is 18 €", "18"),
    ("La réponse est 18", "18"),
    ("答案是18。", "18"),
    ("\\boxed{18，000}", "18000"),
    ("\\boxed{1 234 567}", "1234567"),
    ("The answer is\n\n\\[\n18\n\\]", "18"),
    ("The answer is:\n\n18 apples, 3 per day", "18"),
]

MATHEMATICS = [
    ("\\boxed{7}", "7", True),
    ("\\boxed{12}", "1", False),
    ("\\boxed{1}", "12", False),
    ("The answer is \\boxed{\\frac{1}{2}}.", "\\frac12", True),
    ("\\boxed{0.5}", "\\frac{1}{2}", True),
    ("\\boxed{\\dfrac{3}{4}}", "\\frac{3}{4}", True),
    ("\\boxed{\\frac{4}{3}}", "\\frac{3}{4}", False),
    ("\\boxed{2/4}", "\\frac{1}{2}", True),
    ("\\boxed{\\sqrt{8}}", "2\\sqrt{2}", True),
    ("\\boxed{2\\sqrt2}", "2\\sqrt{2}", True),
    ("\\boxed{\\sqrt{2}}", "2\\sqrt{2}", False),
    ("\\boxed{9\\pi}", "9\\pi", True),
    ("\\boxed{28.27}", "9\\pi", False),
    ("\\boxed{(3, \\frac{\\pi}{2})}", "\\left( 3, \\frac{\\pi}{2} \\right)", True),
    ("\\boxed{(\\frac{\\pi}{2}, 3)}", "\\left( 3, \\frac{\\pi}{2} \\right)", False),
    ("\\boxed{(-\\infty, 5)}", "(-\\infty,5)", True),
    ("\\boxed{(-\\infty, 5]}", "(-\\infty,5)", False),
    ("\\boxed{[1,2]}", "[1,2]", True),
    ("\\boxed{\\{1,2\\}}", "\\{2,1\\}", True),
    ("\\boxed{\\{1,2,3\\}}", "\\{1,2\\}", False),
    ("\\boxed{x^2+2x+1}", "(x+1)^2", True),
    ("\\boxed{x^2+1}", "(x+1)^2", False),
    ("\\boxed{1+x}", "x+1", True),
    ("\\boxed{\\text{Evelyn}}", "\\text{Evelyn}", True),
    ("\\boxed{\\text{Eve}}", "\\text{Evelyn}", False),
    ("\\boxed{10\\%}", "10\\%", True),
    ("\\boxed{1,000}", "1000", True),
    ("\\boxed{-\\frac{1}{3}}", "-\\frac{1}{3}", True),
    ("\\boxed{\\frac{1}{3}}", "-\\frac{1}{3}", False),
    ("I first thought \\boxed{3}, but it is \\boxed{4}.", "4", True),
    ("I first thought \\boxed{4}, but it is \\boxed{3}.", "4", False),
    ("\\boxed{2^{10}}", "1024", True),
    ("\\boxed{60^\\circ}", "60", True),
    ("The final answer is $\\frac{14}{3}$.", "\\frac{14}{3}", True),
    ("", "5", False),
    ("No idea.", "5", False),
    ("\\boxed{\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", True),
    ("\\boxed{\\begin{pmatrix} 2 \\\\ 1 \\end{pmatrix}}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", False),
    # Numbers that are small, and not equal.
    ("\\boxed{\\frac{1}{2006!}}", "\\frac{1}{2004!}", False),
    ("\\boxed{\\frac{1}{2004 \\cdot 2003!}}", "\\frac{1}{2004!}", True),
    ("\\boxed{(1, \\frac{1}{2006!})}", "(1, \\frac{1}{2004!})", False),
    ("\\boxed{[0, \\frac{1}{2006!}]}", "[0, \\frac{1}{2004!}]", False),
    ("\\boxed{10^{-9}}", "10^{-10}", False),
    ("\\boxed{0.0000001}", "0.0000003", False),
    ("\\boxed{0.333333}", "\\frac13", True),
    ("\\boxed{0.333333333}", "\\frac13", True),
    ("\\boxed{0.3333}", "\\frac13", False),
    ("\\boxed{28.274334}", "9\\pi", True),
    ("<answer>5</answer>", "5", True),
    ("It was 5. <answer>$\\frac{1}{2}$</answer> of 7", "0.5", True),
    ("<answer>The answer is $5$.</answer>", "5", True),
    ("<answer>6</answer>", "5", False),
    ("It is 5, \\boxed{}", "5", False),
    ("\\boxed{５}", "5", True),
    # Numerals to a base.
    ("\\boxed{2516_9}", "2516_8", False),
    ("\\boxed{2516_{8}}", "2516_8", True),
    ("\\boxed{2516}", "2516_8", True),
]

COUNTDOWN = [
    ("（３＋９）×２", True),
    ("３＋９＝１２, １２×２＝２４", True),
    ("\\text{Answer: }(3+9)*2", True),
    ("$\\textbf{Answer:}\\ (3+9)\\times 2 = 24$", True),
    ("\\[\\boxed{\\mathrm{Answer: } (3+9)\\,\\times\\,2}\\]", True),
    ("\\text{Answer: }(3+9)*3", False),
    ("\\text{The answer is not }(3+9)*2", False),
    ("<answer>(3 + 9) * 2</answer>", True),
    ("<answer>(3+9)*2 = 24</answer>", True),
    ("<answer>2*(9+3)</answer>", True),
    ("\\boxed{(3+9)\\times 2}", True),
    ("\\boxed{2 \\cdot (3 + 9) = 24}", True),
    ("The answer is (3 + 9) × 2.", True),
    ("The answer is: $(3+9)\\times2$", True),
    ("3 + 9 = 12, 12 * 2 = 24", True),
    ("I add.\n3+9=12, 2*12=24", True),
    ("<answer>3+9=12\n12*2=24</answer>", True),
    ("#### (3+9)*2", True),
    ("(03+09)*02", True),
    ("```\n(3+9)*2\n```\n<answer>`(3+9)*2`</answer>", True),
    ("<answer>9*2 + 3*2</answer>", False),  # 2 is used twice
    ("<answer>24</answer>", False),  # no numbers used
    ("<answer>12 * 2</answer>", False),  # 12 was not given
    ("<answer>3 * 8</answer>", False),
    ("<answer>(3+9)*2 = 25</answer>", False),
    ("<answer>(3+9)*2 = 24 = 25</answer>", False),
    ("<answer>3+9*2</answer>", False),  # 21
    ("<answer>9 + 3</answer>", False),
    ("<answer>(3+9)*2+0</answer>", False),
    ("<answer>39 - 2</answer>", False),  # digits joined
    ("3+9=12, 12*2=24, 24+0=24", False),
    ("3+9=13, 13*2=24", False),
    ("3+9=12, 9+15=24", False),  # 9 was used up
    ("9*2=18, 18+6=24", False),  # 3 is left over
    ("<answer>3**2+9+2+4</answer>", False),
    ("<answer>(3+9)*2 or 24</answer>", False),
    ("<answer>__import__('os').getpid()</answer>", False),
    ("<answer>(3+9)/(2-2)</answer>", False),
    ("<answer>9**9**9**9</answer>", False),
    ("<answer>(3+9)*2.0</answer>", False),
    ("<answer>-(-(3+9)*2)</answer>", False),  # signs are no operations of the game
    ("<answer>" + "(" * 300 + "</answer>", False),
    ("", False),
    ("I cannot.", False),
    ("<answer>(3+9)*3</answer> no: <answer>(3+9)*2</answer>", True),
    ("<answer>(3+9)*2</answer> no: <answer>(3+9)*3</answer>", False),
    # Formulas as models write them.
    ("\\[(3+9)*2\\]", True),
    ("\\[\n(3+9)*2\n\\]", True),
    ("The answer is \\((3+9)\\cdot 2\\).", True),
    ("<answer>$$(3+9)*2$$</answer>", True),
    ("<answer>[3+9]*2</answer>", True),
    ("<answer>(3+9) x 2</answer>", True),
    ("<answer>\\boxed{(3+9)*2}</answer>", True),
    ("<answer>24 = (3+9)*2</answer>", True),
    ("<answer>12 = 3+9, 24 = 12*2</answer>", True),
    ("<answer>24 = 24</answer>", False),
    ("<answer>25 = (3+9)*2</answer>", False),
    # Numbers of Python that are none of the game.
    ("<answer>(0x3+9)*2</answer>", False),
    ("<answer>(3+9)*0b10</answer>", False),
    ("<answer>(3+9)*2_</answer>", False),
    # Bold, signs of other scripts, products without a sign, and words before an equation.
    ("**(3+9)*2**", True),
    ("The answer is **(3+9)*2**.", True),
    ("**Answer:** (3+9)*2", True),
    ("**Answer**: (3+9)*2 = **24**", True),
    ("**Final answer: (3+9)*2**", True),
    ("<answer>*(3+9)\\*2*</answer>", True),
    ("**(3+9)**2", False),
    ("(3+9) ** 2", False),
    ("<answer>3**2+9</answer>", False),
    ("(3+9)*2 == 24", True),
    ("(3+9)*2 ≈ 24", True),
    ("\\boxed{(3+9)\\times 2 \\approx 24}", True),
    ("(3+9)*2 == 25", False),
    ("(3+9)*2 ≈ 25", False),
    ("(3+9)(2)", True),
    ("2(3+9)", True),
    ("(3+9)2", True),
    ("\\boxed{2(3+9)=24}", True),
    ("2[3+9]", True),
    ("(3)(9)-2", False),
    ("2(3+9)(1)", False),
    ("(3+9)∗2", True),
    ("(3＋9)＊2", True),
    ("（3+9）×2", True),
    ("(٣+٩)*٢", True),
    ("(3+9)²", False),
    ("(3+9)⋅2", True),
    ("So (3+9)*2 = 24.", True),
    ("Therefore, (3+9)*2 = 24 ✓", True),
    ("Final expression: (3+9)*2", True),
    ("Step 1: 3+9=12, then 12*2=24", True),
    ("<answer>1. 3+9=12\n2. 12*2=24</answer>", True),
    ("Step 1: 3+9=13, then 13*2=24", False),
    ("I cannot make it. 2(3+9)?", False),
    ("not (3+9)*2", False),
    ("<answer></answer>", False),
    ("<answer>(3+9)*2</answer> as <answer></answer>", True),
    ("<answer>3 9 2</answer>", False),
    ("(3+9)*2 or 24", False),
    ("(3+9)*2, (3+9)*2", False),
    ("(3+9) 2", True),
    ("39(2)", False),
    ("<answer>(3+9)*2 = 24, which is right</answer>", True),
    ("The answer is not (3+9)*2", False),
    # As models write.
    ("Let me think: 3 + 9 = 12, 12 * 2 = 24. <answer>(3 + 9) * 2</answer>", True),
    ("<answer>$(3 + 9) \\times 2 = 24$</answer>", True),
    ("<answer>(3+9)×2=24.</answer>", True),
    ("<answer>\n(3+9)*2\n</answer>", True),
    ("<answer> 2 * (3 + 9) = 2 * 12 = 24 </answer>", True),
    ("(3 + 9) * 2\n= 12 * 2\n= 24", True),
    ("<answer>(3 + 9) * 2\n= 12 * 2\n= 24</answer>", True),
    ("The expression is (3 + 9) * 2.", True),
    ("The expression is: `(3 + 9) * 2`", True),
    ("We can use (3 + 9) * 2 = 24.", True),
    ("3 + 9 = 12 and 12 * 2 = 24", True),
    ("3 + 9 = 12; 12 × 2 = 24", True),
    ("3+9=12\n12*2=24", True),
    ("First, 3 + 9 = 12. Then, 12 * 2 = 24.", True),
    ("<answer>3 + 9 = 12, then 12 * 2 = 24</answer>", True),
    ("\\[ (3+9) \\cdot 2 = 24 \\]", True),
    ("\\boxed{(3+9)\\cdot2}", True),
    ("<answer>((3 + 9) * 2)</answer>", True),
    ("<answer>(3 + 9) * 2 = 24 </answer> This uses all.", True),
    ("Answer: (3 + 9) * 2", True),
    ("(3 + 9) * 2 = 24 (uses 3, 9, 2)", False),
    ("The answer is (3 + 9) * 2 = 24, using each once.", True),
    ("<answer>(3 + 9) × 2 → 24</answer>", False),
    ("<answer>'(3+9)*2'</answer>", True),
    ('<answer>"(3+9)*2"</answer>', True),
    ("<answer>2 times (3 plus 9)</answer>", False),
    ("<answer>(3 + 9) * 2 = 24</answer", True),
    ("<answer>(3+9)*2 = 24 != 25</answer>", False),
    ("Wait, <answer>(3+9)*2</answer>", True),
    ("<answer>24 = 2 * (3 + 9)</answer>", True),
    ("<answer>{(3+9)*2}</answer>", True),
    ("<answer>(3 + 9)\\cdot{2}</answer>", True),
    ("<answer>(3 + 9) * (2)</answer>", True),
    ("<answer>(3 + 9)/(1/2)</answer>", False),
    ("<answer>+(3+9)*2</answer>", False),
    ("<answer>(3 + 9) * 2 (= 24)</answer>", False),
    ("**<answer>(3+9)*2</answer>**", True),
    ("<answer>**(3+9)*2**</answer>", True),
    ("```python\n(3+9)*2\n```", True),
    ("print((3+9)*2)", False),
    ("<answer>\n```\n(3+9)*2\n```\n</answer>", True),
    ("I tried (3+9)*2 but it is wrong", False),
    ("3*9=27\n27-2=25\n(3+9)*2=24", True),
    ("3*9=27\n27-2=25", False),
    ("(3+9)*2, but that is not it", False),
    ("sqrt((3+9)*2)", False),
]

PUZZLE = "0004300010020000"
RIGHT = "2134/3421/1342/4213"
SUDOKU = [
    (RIGHT, True),
    ("2134\n3421\n1342\n4213", True),
    ("2 1 3 4\n3 4 2 1\n1 3 4 2\n4 2 1 3", True),
    ("2134342113424213", True),
    ("| 2 | 1 | 3 | 4 |\n| 3 | 4 | 2 | 1 |\n| 1 | 3 | 4 | 2 |\n| 4 | 2 | 1 | 3 |", True),
    ("[[2, 1, 3, 4],\n [3, 4, 2, 1],\n [1, 3, 4, 2],\n [4, 2, 1, 3]]", True),
    ("2 1 | 3 4\n3 4 | 2 1\n----+----\n1 3 | 4 2\n4 2 | 1 3", True),
    ("<answer>\n2134\n3421\n1342\n4213\n</answer>", True),
    ("The puzzle\n0004\n3000\n1002\n0000\nis solved by\n2134\n3421\n1342\n4213\n.", True),
    ("```\n2134\n3421\n1342\n4213\n```", True),
    ("First 1234/3412/2143/4321, no: " + RIGHT, True),
    (RIGHT + " or else 1234/3412/2143/4321", False),
    ("2143/3421/1342/4213", False),  # a given is changed
    ("2134/3421/1342/4231", False),  # a column twice
    ("2134/3421/1342", False),
    ("2134/3421/1342/421", False),
    ("2134/3421/1342/42134", False),
    ("1234/3412/2143/4321", False),  # valid, but of another puzzle
    ("2135/3421/1342/4213", False),
    ("0004/3000/1002/0000", False),
    ("____", False),
    ("", False),
    ("2134/3421/4213/1342", False),
    ("1234\n4321\n3412\n2143", False),
    ("2134 3421 1342 4213", True),
    ("12134/3421/1342/4213", False),
    ("<answer>2134/3421/1342/4213</answer> 1111/1111/1111/1111", True),
    ("(2,1,3,4)\n(3,4,2,1)\n(1,3,4,2)\n(4,2,1,3)", True),
    ("4213/1342/3421/2134", False),
    ("Row 1: none", False),
    ("２１３４\n３４２１\n１３４２\n４２１３", True),
    ("<answer>2134/3421/1342/4213</answer> inside <answer></answer>", True),
    # As models write.
    ("```\n2 1 3 4\n3 4 2 1\n1 3 4 2\n4 2 1 3\n```", True),
    ("<answer>2134 3421 1342 4213</answer>", True),
    ("+---+---+\n|2 1|3 4|\n|3 4|2 1|\n+---+---+\n|1 3|4 2|\n|4 2|1 3|\n+---+---+", True),
    ("Row 1: 2 1 3 4\nRow 2: 3 4 2 1\nRow 3: 1 3 4 2\nRow 4: 4 2 1 3", True),
    ("**2 1 3 4**\n**3 4 2 1**\n**1 3 4 2**\n**4 2 1 3**", True),
    ("2,1,3,4\n3,4,2,1\n1,3,4,2\n4,2,1,3", True),
    ("\\begin{array}{cccc}2&1&3&4\\\\3&4&2&1\\\\1&3&4&2\\\\4&2&1&3\\end{array}", True),
    ("| 2 | 1 | 3 | 4 |\n|---|---|---|---|\n| 3 | 4 | 2 | 1 |\n| 1 | 3 | 4 | 2 |\n| 4 | 2 | 1 | 3 |", True),
    ("2 1 3 4\n\n3 4 2 1\n\n1 3 4 2\n\n4 2 1 3", True),
    ("1. 2134\n2. 3421\n3. 1342\n4. 4213", True),
    ("2134\n3421\n1342\n4213\n\nCheck: row 1 holds 1 2 3 4.", True),
    ("2134\n3421\n1342\n4213\n\nColumns: 2314 1432 3241 4123", False),
    ("2-1-3-4\n3-4-2-1\n1-3-4-2\n4-2-1-3", True),
    ("<answer>\n2134\\n3421\\n1342\\n4213\n</answer>", True),
    ("<answer>2134<br>3421<br>1342<br>4213</answer>", True),
    ("2 1  3 4\r\n3 4  2 1\r\n1 3  4 2\r\n4 2  1 3", True),
]

CHOICES = [
    ("The answer is (B).", "B"),
    ("answer: C", "C"),
    ("\\boxed{D}", "D"),
    ("\\boxed{(A)}", "A"),
    ("\\boxed{A or B}", None),
    ("**Answer:** B", "B"),
    ("The answer is Benzene", None),
    ("I rule out (A) and (B), so (C)", "C"),
    ("A) 3 metres", "A"),
    ("", None),
    ("Because of entropy.", None),
    ("The correct choice is **D**", "D"),
    # The stated answer wins over a later mention.
    ("The answer is (C). Option A is incorrect.", "C"),
    ("Final answer: D.\nOption A ignores friction.", "D"),
    ("The correct option is (D) 5 m. Choice (A) ignores friction.", "D"),
    ("The answer is the second one, i.e. (B), and (A) is wrong.", "B"),
    ("The answer is not (A) but (B).", "B"),
    ("The answer is A. No: the answer is (C).", "C"),
    ("Option B is correct. Option A is wrong.", "B"),
    ("Option A is incorrect.", None),
    ("the answer is a matter of taste, so (C)", "C"),
    ("Answer: (d)", "D"),
    ("Answer: $\\textbf{C}$", "C"),
    ("The answer is \\(C\\).", "C"),
    ("(B)\n\nHuman: why?\n\nThe answer is (A).", "B"),
    # What is called wrong does not count, a conclusion does, and several letters are no answer.
    ("A is wrong. So B.", "B"),
    ("The answer is (B). Therefore (A), (C), (D) are incorrect.", "B"),
    ("The answer is B. So A, C are wrong.", "B"),
    ("So A, B are tempting, but the answer is C.", "C"),
    ("A cannot be right. It is B.", "B"),
    ("It cannot be A. It is B.", "B"),
    ("<answer>B</answer>", "B"),
    ("<answer>b</answer>", "B"),
    ("<answer>(A) or (B)</answer>", None),
    ("A or B", None),
    ("The answer is A or B.", None),
    ("The answer is A, B or C", None),
    ("Either (A) or (B).", None),
    ("The answer is A and B", None),
    ("A or B? I choose B.", "B"),
    ("The answer is C, and A is wrong.", "C"),
    ("It is C and A is wrong.", "C"),
    ("A, B and D are wrong, so C.", "C"),
    ("The answer is A. Wait, B.", "B"),
    ("The answer is A.\nWait, actually B is correct.", "B"),
    ("B is the right answer. A is wrong.", "B"),
    ("DNA is correct", None),
    ("So A is larger than B.", None),
    ("It isn't A, but B.", "B"),
    ("The answer isn't A. It's (C).", "C"),
    ("So the answer is: (b).", "B"),
    ("\\boxed{B. A gas expands}", "B"),
    ("\\boxed{b}", "B"),
    ("\\boxed{\\text{(C) } A \\to B}", "C"),
    ("\\boxed{B, not A}", "B"),
    ("\\boxed{AB}", None),
    ("**B**", "B"),
    ("Final answer\n\nB) 5 m", "B"),
    ("答案：Ｂ", None),
    ("（Ｂ）", "B"),
    ("The answer is Ｂ", "B"),
    ("Thus, option D.", "D"),
    ("Hence the correct option is $\\boxed{\\textbf{D}}$.", "D"),
    ("Neither A nor B fits, hence C.", "C"),
    ("I would rule out (A), (B), and (D). Therefore (C).", "C"),
    ("Better than A is B", None),
    ("So B, because A is too small.", "B"),
    ("There is no A.", None),
    ("Vitamin A is good", None),
    ("It is B that reacts", None),
    ("B-cells", None),
    ("The answer is B-cells", None),
    ("I am not sure. Perhaps (A), perhaps (B). I go with (B).", "B"),
    ("The correct answer is option C.", "C"),
    ("Answer: **(A)**\n\n(B) is wrong since", "A"),
    ("**Answer**: B", "B"),
    ("The answer must be B.", "B"),
    ("(C) is correct.", "C"),
    ("The answer is:\n\nB", "B"),
    ("The answer is:\n\n(B) Because A", "B"),
    ("The final answer is $\\boxed{B}$. I hope it is correct.", "B"),
    ("So, it must be D!", "D"),
    ("A is correct? No, B is correct.", "B"),
    ("The options A and B are incorrect; C is correct.", "C"),
    ("A/B", None),
    ("Therefore, the correct answer is B) 3.4.", "B"),
    # As models write.
    ("The correct answer is **B) 10 m**.", "B"),
    ("Therefore, the correct option is (B).", "B"),
    ("Let's think. A: wrong since x. B: plausible. C: no. D: no.\n\nAnswer: B", "B"),
    ("Option (A): incorrect. Option (B): incorrect. Option (C): correct. Option (D): incorrect.", "C"),
    ("(A) is incorrect because x.\n(B) is incorrect because y.\n(C) is correct.\n(D) is incorrect because z.", "C"),
    ("The answer is \\(\\boxed{\\text{B}}\\)", "B"),
    ("\\boxed{\\mathrm{(B)}}", "B"),
    ("\\boxed{\\text{B) }10}", "B"),
    ("\\boxed{B}.", "B"),
    ("$\\boxed{B}$ or $\\boxed{C}$", "C"),
    ("I think it's B", "B"),
    ("I believe the answer is C, although D is also possible.", "C"),
    ("It's either B or C. I'll go with C.", "C"),
    ("The answer is likely B.", "B"),
    ("The answer is probably (B).", "B"),
    ("The best answer is B.", "B"),
    ("The right choice: B", "B"),
    ("My answer: (b)", "B"),
    ("Choice B is the correct one.", "B"),
    ("B is the correct choice", "B"),
    ("The correct letter is B.", "B"),
    ("So the final choice is B", "B"),
    ("So, the answer is B", "B"),
    ("Thus the answer should be B.", "B"),
    ("Answer is B", "B"),
    ("ANSWER: B", "B"),
    ("Answer - B", "B"),
    ("Answer\nB", "B"),
    ("**B.** 10 m", "B"),
    ("B. 10 m", "B"),
    ("(B) 10 m", "B"),
    ("B: 10 m", "B"),
    ("b)", "B"),
    ("Eliminate A, C and D. The remaining option is B.", "B"),
    ("We can eliminate (A) and (C), leaving (B) and (D). (D) is too large, so (B).", "B"),
    ("The answer cannot be (A) or (D). Between (B) and (C), (C) is right.", "C"),
    ("All of A, B, C are wrong, hence D.", "D"),
    ("Hence A is the answer, since B, C and D are wrong", "A"),
    ("A) 3\nB) 4\nC) 5\nD) 6\n\nThe correct answer is C) 5.", "C"),
    ("None of the above", None),
    ("The value is 5 m (Option C).", "C"),
    ("This matches option C.", "C"),
    ("which corresponds to (C)", "C"),
    ("Answer: C\n\nExplanation: A is wrong as B is smaller", "C"),
    ("The answer is C (not A).", "C"),
    ("The answer is C rather than A.", "C"),
    ("Answer: A, since B would be larger", "A"),
    ("答案是 (B)", "B"),
    ("The answer is `B`", "B"),
    ('Answer: "B"', "B"),
    ("Answer: _B_", "B"),
    ("Answer: [B]", "B"),
    ("Final answer: <B>", "B"),
    ("The answer is: \n**(D)**", "D"),
    ("[Answer] C", "C"),
    ("The answer is not (A), (B) or (C); it is (D).", "D"),
    ("The correct answer is not A. The correct answer is D.", "D"),
    ("Not A.\nNot B.\nC.", "C"),
]


@pytest.mark.parametrize(("answer", "reference", "right"), NUMBERS)
def test_gsm8k(answer: str, reference: str, right: bool) -> None:
    assert same_number(answer, reference) is right


@pytest.mark.parametrize(("answer", "number"), SAID)
def test_the_number_that_an_answer_gives(answer: str, number: str | None) -> None:
    assert final_number(answer) == (None if number is None else Fraction(number))


@pytest.mark.parametrize(("answer", "reference", "right"), MATHEMATICS)
def test_math(answer: str, reference: str, right: bool) -> None:
    assert same_value(answer, reference) is right


@pytest.mark.parametrize(("answer", "right"), COUNTDOWN)
def test_countdown(answer: str, right: bool) -> None:
    assert reaches(answer, [3, 9, 2], 24) is right


def test_math_is_judged_in_any_thread() -> None:
    """math-verify's own time limit works in the main thread only."""
    with ThreadPoolExecutor(1) as pool:
        judged = [pool.submit(same_value, f"It is \\boxed{{{said}}}.", "\\frac12").result() for said in ("0.5", "0.6")]
    assert judged == [True, False]


@pytest.mark.parametrize(
    "said", ["9^{9^{9}}", "(" * 3000 + "1" + ")" * 3000, "1" + "+1" * 3000, "\\frac{1}{0}", "\x00", "\ud800"]
)
def test_an_answer_that_cannot_be_computed_is_wrong(said: str) -> None:
    began = time.monotonic()
    assert not same_value(f"\\boxed{{{said}}}", "5") and not same_number(f"\\boxed{{{said}}}", "5")
    assert time.monotonic() - began < 30


def test_countdown_divides_exactly() -> None:
    assert reaches("<answer>6 / (1 - 3 / 4)</answer>", [1, 3, 4, 6], 24)
    assert reaches("\\boxed{\\frac{8}{4}+2}", [8, 4, 2], 4)
    assert reaches("\\boxed{\\frac{8}{4}(1+2)}", [8, 4, 1, 2], 6)
    assert not reaches("2\\frac{8}{4}", [2, 8, 4], 4)  # a mixed number or a product
    assert not reaches("(7+1)/3 ≈ 3", [7, 1, 3], 3)
    assert not reaches("7/2=3, 3*2=6", [7, 2, 2], 6)


@pytest.mark.parametrize(("answer", "right"), SUDOKU)
def test_sudoku(answer: str, right: bool) -> None:
    assert solves(answer, PUZZLE) is right


def test_a_sudokus_givens_may_be_written_in_any_way() -> None:
    assert solves(RIGHT, "___4/3___/1__2/____") and solves(RIGHT, "...4 3... 1..2 ....")
    assert grid(RIGHT) == "2134342113424213"


@pytest.mark.parametrize(("answer", "letter"), CHOICES)
def test_choice(answer: str, letter: str | None) -> None:
    assert chosen(answer) == letter


@pytest.mark.parametrize(
    "said", ["A, ", "(A), ", "so ", "\n", "answer is ", "\\boxed{", "2134 ", "1 to ", "| ", "\n= "]
)
def test_an_answer_that_repeats_itself_is_read_in_a_moment(said: str) -> None:
    began = time.monotonic()
    for answer in (said * 700, f"2134{said * 700}"):
        chosen(answer), reaches(answer, [3, 9, 2], 24), same_number(answer, "1"), solves(answer, PUZZLE)
    assert time.monotonic() - began < 5


def test_the_tables_are_long_enough() -> None:
    assert min(map(len, (NUMBERS, MATHEMATICS, COUNTDOWN, SUDOKU))) >= 30


def test_numbers_without_end_and_without_meaning_are_no_answers() -> None:
    from mdmkit_tasks.judges.numbers import same_number

    assert not same_number("#### 1" + "0" * 5000, "1")
    assert not same_number("\\boxed{\\frac{1}{0}}", "1")
    assert same_number("\\boxed{\\frac{4}{2}}", "2")


@pytest.mark.parametrize(
    ("unit", "judge"),
    [
        (".234", lambda answer: same_value(answer, "12") or same_value(f"\\boxed{{{answer}}}", "12")),
        (".234", lambda answer: same_number(answer, "12")),
        ("7", lambda answer: same_number(answer, "12")),
        ("\n", lambda answer: same_number(answer, "12")),
        ("```\n", chosen),
        ("def f(x):\n", lambda answer: program(answer, "add") == [Part("add")]),
        ("def add(x):\n", lambda answer: not program(answer, "add")),
        ("It's\n", lambda answer: not program(f"{answer}def add(x):\n    pass", "add")),
        ("```\nx = y\n```\n", lambda answer: not program(f"```\ndef add(x):\n    z\n```\n{answer}", "add")),
    ],
)
def test_the_time_grows_with_the_length_of_an_answer_and_not_with_its_square(
    unit: str, judge: Callable[[str], object]
) -> None:
    same_value("1", "1")  # math-verify is loaded
    began = time.process_time()
    assert not judge(unit * (200_000 // len(unit)))
    assert time.process_time() - began < 2


def test_the_end_of_a_long_answer_is_read() -> None:
    long = "So it goes on. " * 20_000
    assert same_value(f"{long}The answer is $\\frac{{1}}{{2}}$.", "0.5") and same_number(f"{long}It is 12.", "12")
    assert chosen(f"{long}The answer is B.") == "B"
