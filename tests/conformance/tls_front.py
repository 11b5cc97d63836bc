"""TLS in front of a server that has none, as an operator's proxy ends it; in a thread."""

import asyncio
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import trustme


@contextmanager
def tls_front(port: int, folder: Path) -> Generator[tuple[str, str]]:
    """The URL, and the path of the authority's certificate."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    ready, over, ports = threading.Event(), threading.Event(), list[int]()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        try:
            with suppress(OSError):
                async with asyncio.TaskGroup() as both:
                    both.create_task(_copied(reader, back))
                    both.create_task(_copied(there, writer))
        finally:
            # A client may keep its connection for longer than this loop lives.
            back.transport.abort()
            writer.transport.abort()

    async def serve() -> None:
        server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        await asyncio.to_thread(over.wait)
        server.close()
        for relaying in asyncio.all_tasks() - {asyncio.current_task()}:
            relaying.cancel()
        # Transports that are aborted close in the next turns of the loop.
        for _ in range(3):
            await asyncio.sleep(0)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield f"https://localhost:{ports[0]}", str(folder / "authority.pem")
    finally:
        over.set()
        thread.join()


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()
