from sampler import BOLD_MARGIN

from mdmkit.testing import PresetContract


class TestBoldMargin(PresetContract):
    component = BOLD_MARGIN
