"""One answer in progress: its sequence, and the text and tokens that are not sent yet."""

from __future__ import annotations

from dataclasses import dataclass, field

from llm_engine.request.detokenizer import Detokenizer
from llm_engine.request.outputs import RequestOutput
from llm_engine.sampling.logprobs import TokenLogprobs
from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.sequence import FinishReason, Sequence


@dataclass(slots=True, kw_only=True)
class Choice:
    """One of the n answers to a request."""

    sequence: Sequence
    detokenizer: Detokenizer
    only_final: bool
    """Whether there is a single output, at the end."""
    text: str = ""
    """Text that is not sent yet; the same holds for the tokens and log-probabilities below."""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    num_output_tokens: int = 0
    """All tokens so far, sent or not."""
    stop_reason: int | str | None = None
    """The stop token or stop string that ended the answer."""
    sent_prompt_logprobs: bool = False
    num_ahead: int = 0
    """Characters sent ahead of the token that they belong to, whose other text a stop string held back."""

    def take(self, item: Sampled, eos_token_ids: tuple[int, ...]) -> FinishReason | None:
        """Add the sequence's new tokens up to the one that ends the answer. Return the reason if one does."""
        sequence = self.sequence
        for place, token in enumerate(item.token_ids):
            if sequence.grammar is not None:
                sequence.grammar.accept(token)
            self.token_ids.append(token)
            if item.logprobs is not None:
                self.logprobs.append(item.logprobs[place])
            num_tokens = item.place + place + 1
            self.num_output_tokens = num_tokens - sequence.num_prompt_tokens
            reason = self._push(token, eos_token_ids)
            if reason is not None:
                del sequence.token_ids[num_tokens:]
                return reason
        return None

    def take_output(self) -> RequestOutput:
        """Return everything that is not sent yet. With log-probabilities, a token waits until its text is sent."""
        sequence = self.sequence
        pieces = self._take_pieces()
        count = len(self.token_ids) if pieces is None else len(pieces)
        output = RequestOutput(
            request_id=sequence.request_id,
            text=self.text,
            token_ids=self.token_ids[:count],
            num_prompt_tokens=sequence.num_prompt_tokens,
            num_output_tokens=self.num_output_tokens,
            num_cached_tokens=sequence.num_cached_tokens,
            index=sequence.index,
            finish_reason=sequence.finish_reason,
            stop_reason=self.stop_reason,
            logprobs=None if sequence.params.logprobs is None else self.logprobs[:count],
            pieces=pieces,
            prompt_logprobs=self._prompt_logprobs(),
        )
        self.text, self.token_ids, self.logprobs = "", self.token_ids[count:], self.logprobs[count:]
        return output

    def _take_pieces(self) -> list[str] | None:
        """Take the pieces of the tokens whose text is sent; at the end, those of all tokens."""
        ready = self.detokenizer.pieces
        if ready is None:
            return None
        room, pieces, ended = self.num_ahead + len(self.text), [], self.sequence.finish_reason is not None
        for piece in ready:
            if len(piece) > room and not ended:
                break
            pieces.append(piece[:room])
            room -= len(pieces[-1])
        # An end-of-text or stop token adds nothing.
        pieces += [""] * (len(self.token_ids) - len(pieces) if ended else 0)
        del ready[: len(pieces)]
        self.num_ahead = room
        return pieces

    def take_failure(self, error: Exception) -> RequestOutput:
        """Return the last output of a request that failed. Text that is not sent yet is dropped."""
        sequence = self.sequence
        return RequestOutput(
            request_id=sequence.request_id,
            text="",
            token_ids=[],
            num_prompt_tokens=sequence.num_prompt_tokens,
            num_output_tokens=self.num_output_tokens,
            num_cached_tokens=sequence.num_cached_tokens,
            index=sequence.index,
            finish_reason=FinishReason.ERROR,
            error=error,
        )

    def _push(self, token: int, eos_token_ids: tuple[int, ...]) -> FinishReason | None:
        """Add the token's text and return the reason if the token ends the answer.

        An end-of-text or stop token adds no text, unless the request includes stop strings in the output.
        """
        params = self.sequence.params
        may_stop = self.num_output_tokens >= params.min_tokens
        if may_stop and (token in params.stop_token_ids or (not params.ignore_eos and token in eos_token_ids)):
            if params.include_stop_str_in_output:
                self.text += self.detokenizer.push(token, may_stop=False)[0]
            self.text += self.detokenizer.flush()
            self.stop_reason = token if token not in eos_token_ids or params.ignore_eos else None
            return FinishReason.STOP
        text, stopped = self.detokenizer.push(token, may_stop)
        self.text += text
        if stopped:
            self.stop_reason = self.detokenizer.stop_string
            return FinishReason.STOP
        if self.sequence.num_prompt_tokens + self.num_output_tokens >= self.sequence.max_num_tokens:
            self.text += self.detokenizer.flush()
            return FinishReason.LENGTH
        return None

    def _prompt_logprobs(self) -> list[TokenLogprobs | None] | None:
        """Return the prompt's log-probabilities once, with the first output."""
        wanted = (self.sequence.leader or self.sequence).params.prompt_logprobs is not None
        first, self.sent_prompt_logprobs = not self.sent_prompt_logprobs, True
        return self.sequence.prompt_logprobs if wanted and first else None
