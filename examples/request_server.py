"""Ask another thread, or another process, for a small piece of text.

A server on a free port of this machine converts temperatures; a client asks it. Run it with
``python examples/request_server.py``; it ends by itself. With ``telnet`` or ``netcat`` such a
server can be asked by hand too, if it gives you the time to type: ``request_timeout=60``.
"""

from __future__ import annotations

from yoton.clientserver import RequestServer, do_request


class TemperatureServer(RequestServer):
    """Takes a temperature in degrees Celsius, replies in degrees Fahrenheit."""

    def handle_request(self, request: str) -> str:
        try:
            celsius = float(request)
        except ValueError:
            return f"{request.strip()!r} is no temperature"
        return f"{celsius:g} C is {celsius * 9 / 5 + 32:g} F"


def main() -> None:
    with TemperatureServer("localhost:0") as server:
        address = f"localhost:{server.port}"
        for request in ("0", "37.5", "-40", "warm"):
            reply = do_request(address, request, timeout=5.0)
            if reply is None:
                print(f"{request}: no reply in time")
            else:
                print(f"{request}: {reply.strip()}")


if __name__ == "__main__":
    main()
