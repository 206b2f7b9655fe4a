"""Every Python process of the tests begins with this: sockets reach this machine alone."""

import contextlib
import ipaddress
import socket

_LOCAL = {"localhost", "", None, socket.gethostname()}
with contextlib.suppress(OSError):  # what clusters on this machine alone are reached by
    _LOCAL |= set(socket.gethostbyname_ex(socket.gethostname())[2])
with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as _socket:
    _socket.connect(("192.0.2.1", 9))  # sends nothing, but says by which address this machine would
    _LOCAL.add(_socket.getsockname()[0])


def is_here(host: object) -> bool:
    """Whether a host, a name or an address, is this machine."""
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if host in _LOCAL:
        return True
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse(host: object) -> None:
    if str(host).endswith(".invalid"):  # no host is called so, RFC 2606
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    if not is_here(host):
        raise AssertionError(f"tests use no network. Asked for: {host!r}")


def _guarded(method):
    def checked(self, *arguments):
        if isinstance(arguments[-1], tuple):  # an address of the internet, the last argument of all of them
            _refuse(arguments[-1][0])
        return method(self, *arguments)

    return checked


def _guarded_lookup(lookup):
    def checked(host, *arguments, **options):
        _refuse(host)
        return lookup(host, *arguments, **options)

    return checked


for _name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, _name, _guarded(getattr(socket.socket, _name)))
for _name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
    setattr(socket, _name, _guarded_lookup(getattr(socket, _name)))
