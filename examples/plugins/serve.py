"""Start a server on a free port, and ask it with the official client of OpenAI."""

import re
import subprocess
import sys

from openai import OpenAI

command = [sys.executable, "-m", "mdmkit", "serve", "--model", "zoo:puzzles", "--sampler", "confidence", "--port", "0"]
with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
    try:
        address = next(found[1] for line in server.stderr if (found := re.search(r"Serving at (\S+)", line)))
        client = OpenAI(base_url=address, api_key="-")

        done = client.completions.create(model="zoo:puzzles", prompt="7*8=", max_tokens=7)
        print(done.choices[0].text, done.usage.completion_tokens)

        own = {"sampler": "info_gain", "set": {"select.candidates": 4}, "draft": True}
        asked = {"model": "zoo:puzzles", "prompt": "_2__/1_2_/2_41/_1__", "stream": True}
        for chunk in client.completions.create(**asked, extra_body={"mdmkit": own}):
            if more := chunk.choices[0].model_extra:
                print("".join(piece or "_" for piece in more["mdmkit"].get("draft", ())))
    finally:
        server.terminate()  # it finishes what it has accepted, then ends
