"""Examples that language models learn from, on their way from lines of a file to batches. Needs PyTorch alone.

- `lines`: files of JSON lines. `conversations`: what a line may be. `prompts`: without the answers.
- `encoding`: the tokens of an example, and which of them are learnt. `packing`: rows and batches.
"""
