"""Chat templates: find the model's Jinja template and render a chat to a prompt, as transformers does.

The Jinja environment, the variables and the way to continue a message are those of transformers 5
(`utils/chat_template_utils.py`). They are written again here because that import takes seconds; tests compare the two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from llm_engine.errors import RequestError

PLAIN = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
"""The template of models without one."""
CONTINUE_TAG = "CONTINUE_FINAL_MESSAGE_TAG "
"""Marks the end of the message to continue, while the template is rendered."""
REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
"""Names of a message's reasoning. Templates read the first, and that of gpt-oss the second."""

Message = dict[str, Any]


class ChatTemplates:
    """The templates of a model folder, by name."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Find the templates without compiling them. Files take precedence over `settings` (tokenizer_config.json)."""
        self._sources = _from_files(folder) or _from_settings(settings.get("chat_template"))

    @property
    def exist(self) -> bool:
        return bool(self._sources)

    @property
    def default(self) -> str | None:
        """The model's default template."""
        return self._sources.get("default")

    def select(self, given: str | None = None, has_tools: bool = False) -> Template:
        """Return the template to use: `given` (a name or a source), else the one for tools, else the default.

        RequestError if it does not compile, or if the model has several templates and no default.
        """
        if given is not None:
            return compile_template(self._sources.get(given, given))
        if not self._sources:
            return compile_template(PLAIN)
        name = "tool_use" if has_tools and "tool_use" in self._sources else "default"
        if name not in self._sources:
            names = ", ".join(sorted(self._sources))
            raise RequestError(f"the model has the chat templates {names}, and none of them is the default", "messages")
        return compile_template(self._sources[name])


class Template:
    """One compiled template."""

    def __init__(self, source: str) -> None:
        """Compile the template. TemplateError if it does not compile."""
        self._source = source
        self._compiled = environment().from_string(source)

    @cached_property
    def wants_parts(self) -> bool:
        """Whether the template loops over a message's content, so that text must be passed as parts (vLLM's rule)."""
        return any(_is_content(loop.iter) for loop in environment().parse(self._source).find_all(nodes.For))

    @property
    def knows_developer(self) -> bool:
        """Whether the template has a case for the role "developer" (vLLM's rule)."""
        return '"developer"' in self._source or "'developer'" in self._source

    def render(
        self,
        messages: list[Message],
        variables: Mapping[str, Any] | None = None,
        *,
        tools: list[dict[str, Any]] | None = None,
        documents: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> str:
        """Return the prompt, up to the point where the assistant speaks or where the last message to continue ends.

        `variables`: the special tokens and other names that the template reads. RequestError, with the template's own
        words, if the template refuses the messages.
        """
        chat = [_alias_reasoning({key: value for key, value in m.items() if value is not None}) for m in messages]
        if continue_final_message:
            chat[-1] = self._tagged(chat[-1])
        try:
            text: str = self._compiled.render(
                {
                    **(variables or {}),
                    "messages": chat,
                    "tools": tools,
                    "documents": documents,
                    "add_generation_prompt": add_generation_prompt,
                }
            )
        except Exception as error:  # a template can raise any exception
            raise RequestError(f"the chat template refuses the messages: {error}", "messages") from error
        return _up_to_tag(text) if continue_final_message else text

    def _tagged(self, message: Message) -> Message:
        content = message.get("content")
        if isinstance(content, list) and content and "text" in content[-1]:
            last = {**content[-1], "text": content[-1]["text"] + CONTINUE_TAG}
            return {**message, "content": [*content[:-1], last]}
        if isinstance(content, str) and "content" in self._source:
            return {**message, "content": content + CONTINUE_TAG}
        raise RequestError("the last message has no text to be continued", "messages")


@lru_cache(maxsize=32)
def compile_template(source: str) -> Template:
    """Compile a template. RequestError if it does not compile: only chats need it, so only chats fail."""
    try:
        return Template(source)
    except (jinja2.TemplateError, RecursionError) as error:
        raise RequestError(f"the chat template does not compile: {error}", "messages") from None


@cache
def environment() -> ImmutableSandboxedEnvironment:
    """Return the Jinja environment. It is sandboxed, because a template is code from the model's author."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    made.filters["tojson"] = _to_json
    made.globals.update(
        raise_exception=_raise_exception, strftime_now=_strftime_now, dict=_Dict(), namespace=_TemplateNamespace
    )
    return made


class _Generation(Extension):
    """The tag `{% generation %}`, which marks the assistant's text for training. Here its body is plain text."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller: Callable[[], str]) -> str:
        return caller()


class _Dict:
    """A `dict` for templates, without the type's attributes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


class _TemplateNamespace(Namespace):
    """A namespace that keeps templates away from Python's internals."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # so that `namespace(self=1)` works
        for name in dict(*args[1:], **kwargs):
            _check_name(name)
        Namespace.__init__(*args, **kwargs)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace cannot have an attribute {name!r}")


def _to_json(  # signature: given by transformers, whose templates pass arguments by position
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Return JSON as transformers' filter does; Jinja's own escapes HTML and sorts keys."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _alias_reasoning(message: Message) -> Message:
    reasoning = next((message[name] for name in REASONING_FIELDS if name in message), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _up_to_tag(text: str) -> str:
    """Cut `text` at the tag, and the blanks before it if the template trims the tag's own blank."""
    place = text.rfind(CONTINUE_TAG.strip())
    if place < 0:
        raise RequestError("the chat template leaves out the last message, so it cannot be continued", "messages")
    return text[:place] if text.startswith(CONTINUE_TAG, place) else text[:place].rstrip()


def _is_content(node: nodes.Node) -> bool:
    """Return whether the node is `message.content`, `message['content']` or `content`, maybe filtered or sliced."""
    while isinstance(node, nodes.Filter) or (isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice)):
        if node.node is None:
            return False
        node = node.node
    if isinstance(node, nodes.Getitem):
        return isinstance(node.arg, nodes.Const) and node.arg.value == "content"
    return (isinstance(node, nodes.Getattr) and node.attr == "content") or (
        isinstance(node, nodes.Name) and node.name == "content"
    )


def _from_files(folder: Path) -> dict[str, str]:
    """Read `chat_template.jinja`, and other templates by name from `additional_chat_templates`."""
    files = {"default": folder / "chat_template.jinja"}
    files |= {path.stem: path for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    return {name: path.read_text(encoding="utf-8") for name, path in files.items() if path.is_file()}


def _from_settings(template: Any) -> dict[str, str]:
    """Read one template, or a list of templates with names."""
    if isinstance(template, list):
        return {entry["name"]: entry["template"] for entry in template}
    return {"default": template} if template else {}
