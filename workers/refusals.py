"""Fields that clients know and this worker does not honour yet: refused, unless their value changes nothing. Pure."""

from collections.abc import Mapping

from baton.errors import InvalidRequestError, UnsupportedParameterError
from workers.protocol import ChatRequest, Generating

# Field → the values that ask for nothing. null always is one.
HARMLESS: Mapping[str, tuple[object, ...]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "best_of": (1,),
    "min_p": (0,),
    "bad_words": ([],),
    "use_beam_search": (False,),
    "length_penalty": (1,),
    "prompt_logprobs": (),
    "structured_outputs": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "include_stop_str_in_output": (False,),
    "skip_special_tokens": (True,),
    "truncate_prompt_tokens": (),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"], []),
    "audio": (),
    "reasoning_effort": (),
    "web_search_options": (),
    "echo": (False,),
    "suffix": ("",),
    "chat_template": (),
    "chat_template_kwargs": ({},),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "add_special_tokens": (True,),
}


def check_refused(request: Generating) -> None:
    """Raises UnsupportedParameterError for the first field that asks for something not done here."""
    for field in request.__struct_fields__:
        if field in HARMLESS:
            value = getattr(request, field)
            if value is not None and not _is_harmless(field, value):
                raise UnsupportedParameterError(f"`{field}` is not supported by this worker.", param=field)
    if isinstance(request, ChatRequest):
        _check_tool_choice(request)


def _is_harmless(field: str, value: object) -> bool:
    return any(
        value == harmless and isinstance(value, bool) == isinstance(harmless, bool) for harmless in HARMLESS[field]
    )


def _check_tool_choice(request: ChatRequest) -> None:
    choice = request.tool_choice
    if choice in (None, "auto", "none"):
        return
    if choice == "required" or (isinstance(choice, dict) and choice.get("type") in ("function", "allowed_tools")):
        raise UnsupportedParameterError(
            "`tool_choice` can be `auto` or `none` on this worker; a call cannot be forced.", param="tool_choice"
        )
    raise InvalidRequestError("`tool_choice` must be `auto` or `none`.", param="tool_choice")


def check_tools(request: ChatRequest) -> None:
    """Raises for tools that are no functions, and for constrained arguments."""
    for index, tool in enumerate(request.tools or ()):
        where = f"tools[{index}]"
        if tool.type != "function":
            raise UnsupportedParameterError("Only tools of type `function` are supported.", param=f"{where}.type")
        if tool.function is None:
            raise InvalidRequestError(f"{where}.function is missing.", param=f"{where}.function")
        if tool.function.strict:
            raise UnsupportedParameterError(
                "`strict` is not supported by this worker: arguments are not constrained to their schema.",
                param=f"{where}.function.strict",
            )
