"""A chat as training text: messages, tools, and how they are written out for the model.

`segments` must give exactly what the chat template (template.jinja) gives; tests/demo holds the two together.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

Value = str | int | float | bool
START, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
Segment = tuple[str, bool]  # text, and whether the model learns to write it


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call of the assistant."""

    name: str
    arguments: dict[str, Value]

    def text(self) -> str:
        """Hermes format."""
        body = json.dumps({"name": self.name, "arguments": self.arguments}, ensure_ascii=False)
        return f"<tool_call>{body}</tool_call>"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn; `call` only where the role is assistant."""

    role: str
    content: str = ""
    call: Call | None = None

    def text(self) -> str:
        """What stands between the role line and the end token."""
        return self.content + (self.call.text() if self.call else "")

    def openai(self) -> dict[str, object]:
        """The message as an OpenAI client sends it."""
        if self.call is None:
            return {"role": self.role, "content": self.content}
        function = {"name": self.call.name, "arguments": self.call.arguments}
        return {"role": self.role, "content": self.content, "tool_calls": [{"type": "function", "function": function}]}


@dataclass(frozen=True, slots=True)
class Arg:
    """One parameter of a tool."""

    name: str
    type: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call."""

    name: str
    description: str
    args: tuple[Arg, ...]

    def line(self) -> str:
        """The tool as the model sees it."""
        inside = ", ".join(f"{a.name}: {a.type}{'' if a.required else '?'}" for a in self.args)
        return f"{self.name}({inside})" + (f" {self.description}" if self.description else "")

    def openai(self) -> dict[str, object]:
        """The tool as an OpenAI client sends it."""
        parameters = {
            "type": "object",
            "properties": {a.name: {"type": a.type} for a in self.args},
            "required": [a.name for a in self.args if a.required],
        }
        function = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation that ends with the assistant, and the tools it may use."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()


def ask(question: str, reply: str) -> Chat:
    """A chat of one question and one reply."""
    return Chat((Message("user", question), Message("assistant", reply)))


def segments(chat: Chat) -> list[Segment]:
    """The chat's text in pieces, each with whether it is learnt: only what the assistant writes is."""
    system, messages = "", chat.messages
    if messages[0].role == "system":
        system, messages = messages[0].content, messages[1:]
    if chat.tools:
        lines = "".join(f"{tool.line()}\n" for tool in chat.tools)
        system += ("\n" if system else "") + f"<tools>\n{lines}</tools>"
    found: list[Segment] = [(f"{START}system\n{system}{END}\n", False)] if system else []
    for message in messages:
        found.append((f"{START}{message.role}\n", False))
        found.append((f"{message.text()}{END}", message.role == "assistant"))
        found.append(("\n", False))
    return found[:-1]


def prompt(chat: Chat) -> str:
    """The chat without its last reply, ready for the model to write it."""
    pieces = segments(Chat(chat.messages[:-1], chat.tools))
    return "".join(text for text, _ in pieces) + f"\n{START}assistant\n"
