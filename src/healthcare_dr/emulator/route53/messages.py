"""One DNS message in, one out: what an answer has around its records (RFC 1035, section 4; EDNS: RFC 6891)."""

import logging
from collections.abc import Callable

from dnslib import CLASS, EDNS0, QTYPE, RCODE, RR, DNSHeader, DNSQuestion, DNSRecord  # type: ignore[import-untyped]

UDP_BYTES = 512
EDNS_BYTES = 1232
TCP_BYTES = 65535
# The id, and the first byte of flags.
LEAST_BYTES = 3
BADVERS = 16
ANY_CLASS = 255
TRANSFERS = frozenset({QTYPE.AXFR, QTYPE.IXFR})

Fill = Callable[[DNSRecord], None]
"""Fills the answer to its one question: the records, and where it is no success, the code."""

logger = logging.getLogger(__name__)


def respond(packet: bytes, *, udp: bool, fill: Fill) -> bytes | None:
    """The answer to a message, or None for what is no query.

    What cannot be read is FORMERR, what `fill` raises is SERVFAIL and logged. Records that are too long for the client
    are left out, and TC says so (RFC 2181, section 9).
    """
    if len(packet) < LEAST_BYTES or packet[2] & 0x80:
        return None
    if packet[2] & 0x78:
        return _packed(_blank(packet, RCODE.NOTIMP))
    try:
        question, edns = _read(packet)
    except Exception:  # noqa: BLE001 - odd bytes make dnslib raise more than its own errors
        return _packed(_blank(packet, RCODE.FORMERR))
    if code := _refusal(question, edns):
        return _packed(_blank(packet, code, question, edns))
    answer = _blank(packet, RCODE.NOERROR, question, edns)
    try:
        fill(answer)
        if question.qclass == ANY_CLASS:
            # Nobody is an authority for every class.
            answer.header.aa = 0
        packed = _packed(answer)
    except Exception as error:  # noqa: BLE001 - dnslib again, and records can hold anything
        logger.warning("DNS has no answer to %s %s: %s", question.qname, QTYPE[question.qtype], error)
        return _packed(_blank(packet, RCODE.SERVFAIL, question, edns))
    if len(packed) > _longest(edns, udp=udp):
        short = _blank(packet, answer.header.rcode, question, edns)
        short.header.aa, short.header.tc = answer.header.aa, 1
        return _packed(short)
    return packed


def _read(packet: bytes) -> tuple[DNSQuestion, RR | None]:
    request = DNSRecord.parse(packet)
    (question,) = request.questions
    # An answer repeats the question: dnslib reads names that are too long for it to write.
    DNSRecord(q=question).pack()
    options = [extra for extra in request.ar if extra.rtype == QTYPE.OPT]
    if len(options) > 1:
        raise ValueError("more than one OPT")
    return question, options[0] if options else None


def _refusal(question: DNSQuestion, edns: RR | None) -> int:
    if edns is not None and edns.edns_ver != 0:
        return BADVERS
    refused: int = RCODE.REFUSED
    served = question.qclass in (CLASS.IN, ANY_CLASS) and question.qtype not in TRANSFERS
    return 0 if served else refused


def _blank(packet: bytes, code: int, question: DNSQuestion | None = None, edns: RR | None = None) -> DNSRecord:
    header = DNSHeader(
        id=int.from_bytes(packet[:2], "big"),
        bitmap=0,
        qr=1,
        opcode=packet[2] >> 3 & 0xF,
        rd=packet[2] & 1,
        rcode=code & 0xF,
    )
    answer = DNSRecord(header)
    if question is not None:
        answer.add_question(question)
    if edns is not None:
        answer.add_ar(EDNS0(udp_len=EDNS_BYTES, ext_rcode=code >> 4, flags="do" if edns.edns_do else ""))
    return answer


def _longest(edns: RR | None, *, udp: bool) -> int:
    if not udp:
        return TCP_BYTES
    return min(max(UDP_BYTES, edns.edns_len), EDNS_BYTES) if edns is not None else UDP_BYTES


def _packed(answer: DNSRecord) -> bytes:
    return bytes(answer.pack())
