from task import Products

from mdmkit.testing import TaskContract


class TestProducts(TaskContract):
    component = Products

    def right(self, prompt):
        a, b = int(prompt[0]), int(prompt[2])
        return f"{a}*{b}={a * b:07b}"
