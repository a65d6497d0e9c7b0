"""Fails test_one_token_is_left_to_compute: a prompt that is known whole is taken as computed whole.

There is no token left to run the model on, so there are no logits to sample from. nano-vllm had this defect.
"""


class BlockManager:
    def match(self, sequence: Sequence) -> list[int]:
        blocks: list[int] = []
        for key in keys(sequence.tokens, self.block_size):
            block = self.block_of.get(key)
            if block is None:
                break
            blocks.append(block)
        return blocks
