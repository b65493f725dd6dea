"""Draft in, receipt or refusal out: the use case behind both doors."""
