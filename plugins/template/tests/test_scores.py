from mdmkit.testing import ScoreContract
from mdmkit_template.scores import Neighbour


class TestNeighbour(ScoreContract):
    component = Neighbour
