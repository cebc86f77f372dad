"""Examples that language models learn from, on their way from lines of a file to batches. Needs PyTorch alone.

- `conversations`: what a line may be. `encoding`: its tokens, and which of them are learnt. `packing`: rows and batches.
"""
