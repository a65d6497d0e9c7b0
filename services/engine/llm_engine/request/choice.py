"""One answer under way: its sequence, its text so far, and what has not been said yet."""

from __future__ import annotations

from dataclasses import dataclass, field

from llm_engine.request.detokenizer import Detokenizer
from llm_engine.request.outputs import RequestOutput
from llm_engine.sampling.logprobs import TokenLogprobs
from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.sequence import FinishReason, Sequence


@dataclass(slots=True, kw_only=True)
class Choice:
    sequence: Sequence
    detokenizer: Detokenizer
    only_final: bool
    """Nothing is said before the end."""
    text: str = ""
    """Not said yet; so are the tokens and log-probabilities."""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    num_output_tokens: int = 0
    """All so far, said or not."""
    stop_reason: int | str | None = None
    """The stop token or stop string that ended it."""
    said_prompt: bool = False
    num_ahead: int = 0
    """Characters said before the token that they belong to: a stop string held a part of its text back."""

    def take(self, item: Sampled, eos_token_ids: tuple[int, ...]) -> FinishReason | None:
        """Add tokens, which the sequence has already, up to the one that ends the answer; why it ends, if it does."""
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
        """Everything that has not been said yet; tokens with log-probabilities wait until their text is out."""
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
        """Take the pieces of the tokens whose text is out; at the end, those of all tokens."""
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
        """Return the last output of a request that failed; what has not been said yet is dropped."""
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
        """Add the token's text; an end-of-text or stop token has none, unless the request asks for what stopped it."""
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
        """Once, with the first output."""
        told = self.said_prompt or (self.sequence.leader or self.sequence).params.prompt_logprobs is None
        self.said_prompt = True
        return None if told else self.sequence.prompt_logprobs
