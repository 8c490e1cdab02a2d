from command import mdmkit_command

from mdmkit.testing import CommandContract


class TestVocabulary(CommandContract):
    (component,) = mdmkit_command()
