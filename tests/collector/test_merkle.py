"""The tree is that of RFC 6962: its proofs convince, altered ones do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector import pgwarden_verify as verifier
from model.merkle import (
    EMPTY_ROOT,
    Tree,
    consistency_proof,
    consistent,
    included,
    inclusion_proof,
    leaf_hash,
    root_of,
)

# The vectors of Certificate Transparency's own tests (merkle_tree_test.cc).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = [  # (leaf from 1, size, path)
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (3, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        2,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
CONSISTENCY = [
    (1, 1, []),
    (
        1,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]
hashes = st.lists(st.binary(max_size=4).map(leaf_hash), min_size=1, max_size=70)


def test_roots_are_those_of_the_known_vectors():
    assert Tree().root() == EMPTY_ROOT
    assert [root_of(HASHES[: n + 1]).hex() for n in range(8)] == ROOTS


@pytest.mark.parametrize(("leaf", "size", "path"), INCLUSION)
def test_inclusion_proofs_are_those_of_the_known_vectors(leaf, size, path):
    proof = inclusion_proof(HASHES[:size], leaf - 1)
    assert [node.hex() for node in proof] == path
    assert included(HASHES[leaf - 1], leaf - 1, size, proof, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("first", "second", "path"), CONSISTENCY)
def test_consistency_proofs_are_those_of_the_known_vectors(first, second, path):
    proof = consistency_proof(HASHES[:second], first)
    assert [node.hex() for node in proof] == path


def verifies(leaf, index, size, path, root):
    """What an auditor says, who has hex."""
    return verifier.included(leaf, index, size, [node.hex() for node in path], root.hex())


@given(hashes, st.data())
def test_every_leaf_is_proven_and_nothing_else_in_its_place(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof, root, size = inclusion_proof(leaves, index), root_of(leaves), len(leaves)
    assert included(leaves[index], index, size, proof, root)
    assert verifies(leaves[index], index, size, proof, root)
    for check in (included, verifies):
        assert not check(leaf_hash(b"another"), index, size, proof, root)
        assert not check(leaves[index], size, size, proof, root)
        assert not check(leaves[index], index, size, [*proof, root], root)
        for other in _altered(proof, data):
            assert not check(leaves[index], index, size, other, root)


@given(hashes, st.data())
def test_every_earlier_tree_is_proven_to_be_the_beginning_and_no_other(leaves, data):
    size = len(leaves)
    first = data.draw(st.integers(1, size))
    proof = consistency_proof(leaves, first)
    old, new = root_of(leaves[:first]), root_of(leaves)
    assert consistent(first, size, old, new, proof)
    other = root_of([*leaves[: first - 1], leaf_hash(b"another")])
    assert not consistent(first, size, other, new, proof)
    assert not consistent(first, size, old, leaf_hash(b"another"), proof)
    assert not consistent(first, size, old, new, [*proof, new])
    for changed in _altered(proof, data):
        assert not consistent(first, size, old, new, changed)


@given(hashes)
def test_a_tree_that_grows_has_the_root_that_the_definition_gives(leaves):
    tree = Tree()
    for size, leaf in enumerate(leaves, 1):
        tree.append(leaf)
        assert tree.root() == _by_definition(leaves[:size])


def _by_definition(leaves):
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    from model.merkle import node_hash

    return node_hash(_by_definition(leaves[:split]), _by_definition(leaves[split:]))


def _altered(proof, data):
    """One node with another bit, and one node fewer."""
    if not proof:
        return
    place = data.draw(st.integers(0, len(proof) - 1))
    bit = data.draw(st.integers(0, 255))
    node = bytearray(proof[place])
    node[bit // 8] ^= 1 << bit % 8
    yield [*proof[:place], bytes(node), *proof[place + 1 :]]
    yield [*proof[:place], *proof[place + 1 :]]
