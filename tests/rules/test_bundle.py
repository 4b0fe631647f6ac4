"""A bundle is believed as a whole, byte by byte, or not at all."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from cli.main import app
from rules.bundle import (
    Bundle,
    BundleError,
    Sealed,
    from_file,
    private_key,
    public_key,
    seal,
    to_file,
    unseal,
)
from tests.rules.rule_files import rule

KEY = Ed25519PrivateKey.generate()
BUNDLE = Bundle(7, 0, {"a.yaml": rule().encode(), "b.yml": b"\xff\x00"})


def test_what_was_sealed_is_what_is_unsealed_also_by_way_of_a_file():
    sealed = from_file(to_file(seal(BUNDLE, KEY)))
    assert unseal(sealed, KEY.public_key()) == BUNDLE


def test_a_flipped_bit_anywhere_is_noticed():
    sealed = seal(Bundle(7, 0, {"a.yaml": b"x"}), KEY)
    for part in ("payload", "signature"):
        data = getattr(sealed, part)
        for at in range(len(data)):
            bad = bytearray(data)
            bad[at] ^= 1
            forged = Sealed(**{"payload": sealed.payload, "signature": sealed.signature}
                            | {part: bytes(bad)})  # fmt: skip
            with pytest.raises(BundleError, match="signature"):
                unseal(forged, KEY.public_key())


def test_another_key_and_another_purpose_are_refused():
    sealed = seal(BUNDLE, Ed25519PrivateKey.generate())
    with pytest.raises(BundleError, match="signature"):
        unseal(sealed, KEY.public_key())
    with pytest.raises(BundleError, match="signature"):
        unseal(Sealed(sealed.payload, KEY.sign(sealed.payload)), KEY.public_key())


@pytest.mark.parametrize("name", ["../a.yaml", "/a.yaml", ".a.yaml", "a.txt", "a\n.yaml", ""])
def test_a_name_that_could_leave_its_folder_is_refused(name):
    with pytest.raises(BundleError, match="name"):
        seal(Bundle(1, 0, {name: b"x"}), KEY)


@pytest.mark.parametrize("version", [0, -1, 2**63])
def test_a_version_is_a_number_that_can_grow(version):
    with pytest.raises(BundleError, match="version"):
        seal(Bundle(version, 0, {"a.yaml": b"x"}), KEY)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"payload": 1}', b'{"payload": "?"}'])
def test_a_file_that_is_no_bundle_is_told(data):
    with pytest.raises(BundleError):
        from_file(data)


@pytest.fixture
def call(tmp_path):
    def run(*words):
        return CliRunner().invoke(app, ["rules", *map(str, words)])

    return run


def test_keygen_and_sign_make_what_an_agent_believes(call, tmp_path):
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "a.yaml").write_text(rule())
    assert call("keygen", tmp_path / "k").exit_code == 0
    assert (tmp_path / "k.key").stat().st_mode & 0o777 == 0o600
    out = tmp_path / "x.bundle"
    done = call("sign", rules, "--key", tmp_path / "k.key", "-o", out, "--version", "3")
    assert done.exit_code == 0, done.output
    bundle = unseal(from_file(out.read_bytes()), public_key((tmp_path / "k.pub").read_bytes()))
    assert (bundle.version, dict(bundle.files)) == (3, {"a.yaml": rule().encode()})


def test_broken_rules_are_not_signed_and_an_older_key_is_not_overwritten(call, tmp_path):
    call("keygen", tmp_path / "k")
    assert call("keygen", tmp_path / "k").exit_code == 1
    (tmp_path / "a.yaml").write_text("nonsense")
    out = tmp_path / "x.bundle"
    assert call("sign", tmp_path, "--key", tmp_path / "k.key", "-o", out).exit_code == 78
    assert not out.exists()


def test_a_private_key_is_none_to_verify_with(call, tmp_path):
    call("keygen", tmp_path / "k")
    with pytest.raises(BundleError, match="public"):
        public_key((tmp_path / "k.key").read_bytes())
    with pytest.raises(BundleError, match="private"):
        private_key((tmp_path / "k.pub").read_bytes())
