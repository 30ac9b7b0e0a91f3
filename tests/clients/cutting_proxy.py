"""A TCP relay that breaks the first connections in the middle of a large answer; a program of its own.

    python cutting_proxy.py LISTEN_PORT SERVER_PORT BYTES TIMES

listens on 127.0.0.1:LISTEN_PORT and relays to 127.0.0.1:SERVER_PORT; the first TIMES connections that have brought
back BYTES are reset. It runs where its client runs, which may be another network namespace, and so imports nothing of
this project.
"""

from __future__ import annotations

import asyncio
import sys


class Relay:
    """Counts what comes back from the server, over all connections."""

    def __init__(self, server_port: int, size: int, times: int) -> None:
        self.server_port = server_port
        self.size = size
        self.times = times

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, both ways, until either end or the cut."""
        there, back = await asyncio.open_connection("127.0.0.1", self.server_port)
        forward = asyncio.create_task(self._forward(reader, back))
        try:
            await self._return(there, writer)
        finally:
            forward.cancel()
            back.close()
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            back.write(data)
            await back.drain()
        back.close()

    async def _return(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen = 0
        while data := await there.read(1 << 16):
            seen += len(data)
            if seen > self.size and self.times > 0:
                self.times -= 1
                await writer.drain()
                writer.transport.abort()
                return
            writer.write(data)
            await writer.drain()


async def main(listen_port: int, server_port: int, size: int, times: int) -> None:
    """Serves until it is killed."""
    relay = Relay(server_port, size, times)
    server = await asyncio.start_server(relay.serve, "127.0.0.1", listen_port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*(int(argument) for argument in sys.argv[1:])))
