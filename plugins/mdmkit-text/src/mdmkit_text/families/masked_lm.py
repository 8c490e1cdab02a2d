"""Masked language models: BERT, RoBERTa, ModernBERT, ALBERT, DistilBERT, ELECTRA, ESM and similar models."""

from __future__ import annotations

from typing import Any

from mdmkit_text.families.family import Family, native_config


class MaskedLM(Family):
    """Any class that transformers maps to `AutoModelForMaskedLM`, encoder only."""

    name = "masked_lm"
    generates_end = False
    # Sentence-level heads of pretraining checkpoints.
    ignored_weights = (r"(^|\.)pooler\.", r"^cls\.seq_relationship\.", r"^sop_classifier\.", r"^mask_predictions\.")

    @classmethod
    def claims(cls, config: dict[str, Any]) -> bool:
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL
        from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED

        native = MASKED.get(str(config.get("model_type")))
        if native is None or native.endswith("ForConditionalGeneration"):
            return False
        # BERT and others also exist as causal decoders with the same model_type.
        decoders = {*CAUSAL.values()} - {*MASKED.values()}
        return not (config.get("is_decoder") or decoders.intersection(config.get("architectures") or ()))

    def native(self, config: dict[str, Any]) -> tuple[Any, Any]:
        from transformers import MODEL_FOR_MASKED_LM_MAPPING

        native = native_config(config)
        return MODEL_FOR_MASKED_LM_MAPPING[type(native)], native
