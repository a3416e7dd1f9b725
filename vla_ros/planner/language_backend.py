"""Language models that words are asked of: a protocol, and servers that speak OpenAI's API."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Protocol

from vla_ros.core.errors import UserError, VlaError


class LanguageBackend(Protocol):
    """Completes texts; a language model here, on a server, or a stand-in."""

    def complete(self, prompt: str, *, seed: int) -> str:
        """Return what the model says to `prompt`; called for every question on its own.

        Raises:
            BackendFailed: if no answer came.
        """
        ...


class BackendFailed(VlaError):
    """A language model gave no answer; says why, never with the key."""


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follows nothing: the key would go along to wherever a server points."""

    def redirect_request(self, *_: object) -> None:
        return None


_OPENER = urllib.request.build_opener(_StayHere)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatEndpoint:
    """A server with `POST BASE/chat/completions`: OpenAI's, vLLM, llama.cpp, Ollama.

    The key is read from the environment when it is sent, and kept nowhere: not in this object,
    which is pickled to other processes, and in no message.

    Attributes:
        base_url: Such as http://localhost:8000/v1.
        model: Its name on the server.
        key_variable: Variable of the environment that holds the key; unset where none is needed.
        timeout_s: How long an answer may take [s].
        temperature: Of the sampling.
    """

    base_url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    timeout_s: float = 60.0
    temperature: float = 0.8

    def __post_init__(self) -> None:
        """Refuse what is no address, and a key in it."""
        if not self.base_url.startswith(("http://", "https://")):
            raise UserError(f"{self.base_url}: expected an address that begins with http")
        if "@" in self.base_url.split("/")[2]:
            raise UserError(
                f"an address with a password is not taken; put the key into {self.key_variable}"
            )

    def complete(self, prompt: str, *, seed: int) -> str:
        """Return the model's answer.

        Raises:
            BackendFailed: if the server refuses, is not there, or answers something else.
        """
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": self.temperature,
            "seed": seed,
        }
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.key_variable):
            headers["Authorization"] = f"Bearer {key}"
        url = f"{self.base_url.rstrip('/')}/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with _OPENER.open(request, timeout=self.timeout_s) as response:
                answer = json.loads(response.read())
            return str(answer["choices"][0]["message"]["content"])
        except urllib.error.HTTPError as error:
            raise BackendFailed(f"{url}: answered {error.code} {error.reason}") from None
        except (OSError, ValueError) as error:
            raise BackendFailed(f"{url}: no answer: {type(error).__name__}") from None
        except (KeyError, IndexError, TypeError):
            raise BackendFailed(f"{url}: answered something else than a chat completion") from None
