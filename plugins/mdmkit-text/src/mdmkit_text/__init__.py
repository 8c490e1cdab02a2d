"""Text backbones: any masked language model or bidirectional decoder that transformers has a class for."""
