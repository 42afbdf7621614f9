"""An authority of this process that issues certificates for one name each.

Its key is in this process alone; an issued one's is in the private files of the Envoy
that uses it, too.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

__all__ = ["issue", "root"]

DAYS = 365
OWN_NAME = "runbook, for this machine alone"
LONGEST_NAME = 64  # of a common name; the whole name is an alternative one
USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
SIGNS = x509.KeyUsage(**{use: use in ("key_cert_sign", "crl_sign") for use in USES})


def issue(name: str) -> tuple[bytes, bytes]:
    """Return a certificate for a DNS name and its key, in PEM."""
    key = _key()
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    builder = _begun(name[:LONGEST_NAME], key).add_extension(names, critical=False)
    secret = key.private_bytes(
        form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
    )
    return _signed(builder), secret


@cache
def root() -> bytes:
    """Return the authority's own certificate, in PEM."""
    end = x509.BasicConstraints(ca=True, path_length=0)
    builder = _begun(OWN_NAME, _own_key()).add_extension(end, critical=True)
    return _signed(builder.add_extension(SIGNS, critical=True))


@cache
def _own_key() -> ec.EllipticCurvePrivateKey:
    return _key()


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _begun(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now, own = datetime.now(UTC), x509.SubjectKeyIdentifier
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(OWN_NAME))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(own.from_public_key(key.public_key()), critical=False)
    )


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _signed(builder: x509.CertificateBuilder) -> bytes:
    """Return what strict clients take: it says whose key signed it."""
    key = _own_key()
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    signed = builder.add_extension(by, critical=False).sign(key, SHA256())
    return signed.public_bytes(form.Encoding.PEM)
