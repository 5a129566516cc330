"""Clients of the gateway as Python programmers write them, with the libraries that they have.

    python clients.py websockets|aiohttp|httpx-sse URL TOKEN COUNT

Prints `ready` when the gateway has said hello, then the id of each of COUNT events, through any number of broken connections.
"""

import asyncio
import json
import sys

import aiohttp
import httpx
import websockets
from httpx_sse import aconnect_sse

PROTOCOLS = ["claimr.v1"]


class Seen:
    """What a client keeps: the cursor to resume from, and how many events are still to come."""

    def __init__(self, count):
        self.cursor = None
        self.left = count

    def take(self, text):
        """Notes a frame; true when all events have come."""
        frame = json.loads(text)
        self.cursor = frame.get("id", self.cursor)
        if frame["type"] == "$hello":
            print("ready", flush=True)
        elif not frame["type"].startswith("$"):
            print(frame["id"], flush=True)
            self.left -= 1
        return self.left == 0


async def with_websockets(url, token, seen):
    query = f"?last_event_id={seen.cursor}" if seen.cursor else ""
    address = f"{url.replace('http', 'ws')}/ws{query}"
    headers = {"Authorization": f"Bearer {token}"}
    async with websockets.connect(address, subprotocols=PROTOCOLS, additional_headers=headers) as socket:
        async for text in socket:
            if seen.take(text):
                return


async def with_aiohttp(url, token, seen):
    query = {"last_event_id": seen.cursor} if seen.cursor else {}
    async with aiohttp.ClientSession() as session:
        protocols = [*PROTOCOLS, f"claimr.bearer.{token}"]
        async with session.ws_connect(f"{url}/ws", params=query, protocols=protocols) as socket:
            async for message in socket:
                if message.type == aiohttp.WSMsgType.TEXT and seen.take(message.data):
                    return


async def with_httpx_sse(url, token, seen):
    headers = {"Authorization": f"Bearer {token}"}
    if seen.cursor:
        headers["Last-Event-ID"] = seen.cursor
    async with httpx.AsyncClient(timeout=httpx.Timeout(10, read=60)) as client:
        async with aconnect_sse(client, "GET", f"{url}/sse", headers=headers) as source:
            async for event in source.aiter_sse():
                if event.data and seen.take(event.data):
                    return


CLIENTS = {"websockets": with_websockets, "aiohttp": with_aiohttp, "httpx-sse": with_httpx_sse}


async def main(name, url, token, count):
    seen = Seen(int(count))
    while seen.left:
        try:
            await CLIENTS[name](url, token, seen)
        except (OSError, websockets.WebSocketException, aiohttp.ClientError, httpx.HTTPError):
            pass
        await asyncio.sleep(0.1)


asyncio.run(main(*sys.argv[1:]))
