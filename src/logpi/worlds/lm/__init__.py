"""Language models on Hugging Face transformers: a row is a completion, a decision is a token."""
