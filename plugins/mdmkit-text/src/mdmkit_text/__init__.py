"""Text backbones: any masked language model or bidirectional decoder for which transformers has a class."""
